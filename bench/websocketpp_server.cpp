// An echo server of websocketpp's over asio, as its own examples write one: the peer that is not
// sonde's. It prints its port and serves until it is killed.
//
//   websocketpp_server [THREADS [PORT]]
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <websocketpp/config/asio_no_tls.hpp>
#include <websocketpp/server.hpp>

using Server = websocketpp::server<websocketpp::config::asio>;

static void serve(unsigned threads, unsigned short port)
{
    Server server;
    server.clear_access_channels(websocketpp::log::alevel::all);
    server.clear_error_channels(websocketpp::log::elevel::all);
    server.init_asio();
    server.set_reuse_addr(true);
    server.set_listen_backlog(4096);
    server.set_tcp_post_init_handler([&server](websocketpp::connection_hdl handle) {
        server.get_con_from_hdl(handle)->get_raw_socket().set_option(
            boost::asio::ip::tcp::no_delay(true));
    });
    server.set_message_handler(
        [&server](websocketpp::connection_hdl handle, Server::message_ptr message) {
            websocketpp::lib::error_code ignored; // the connection may have ended meanwhile
            server.send(handle, message->get_payload(), message->get_opcode(), ignored);
        });
    server.listen(boost::asio::ip::tcp::endpoint(boost::asio::ip::address_v4::loopback(), port));
    server.start_accept();
    websocketpp::lib::asio::error_code failed;
    std::printf("%u\n", static_cast<unsigned>(server.get_local_endpoint(failed).port()));
    std::fflush(stdout);
    std::vector<std::thread> others;
    for (unsigned i = 1; i < threads; i++) {
        others.emplace_back([&server] { server.run(); });
    }
    server.run();
    for (std::thread &other : others) {
        other.join();
    }
}

int main(int argc, char **argv)
{
    try {
        unsigned long threads = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1;
        unsigned long port = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 0;
        if (threads < 1 || threads > 1024 || port > 65535) {
            std::fprintf(stderr, "usage: websocketpp_server [THREADS [PORT]]\n");
            return 2;
        }
        serve(static_cast<unsigned>(threads), static_cast<unsigned short>(port));
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "websocketpp_server: %s\n", failure.what());
        return 1;
    }
    return 0;
}
