// A load client of websocketpp's over asio, of the kind that wsperf is: handlers, one endpoint, any
// number of threads that run it.
//
//   websocketpp_client [-r] handshakes URI THREADS CONNECTIONS LOW HIGH
//   websocketpp_client [-r] messages URI THREADS CONNECTIONS HIGH BYTES SECONDS
//
// handshakes: each connection is closed with 1001 as soon as it is open. Once HIGH are in flight, no
// more are begun until fewer than LOW are. messages: HIGH binary messages stay in flight on each
// connection; what is counted begins a quarter of a second after all are open. THREADS of 0 and 1
// are the same. Prints one line of JSON.
//
// websocketpp asks std::random_device for every mask and four times for a key. Where that is slow (an
// instruction that traps in a virtual machine), it is most of what a message costs; -r asks a
// Mersenne Twister instead, as a program would that had noticed.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include <websocketpp/client.hpp>
#include <websocketpp/config/asio_no_tls_client.hpp>

namespace
{

bool cheap_random; // -r; set before anything is made

struct Random {
    uint32_t operator()()
    {
        return cheap_random ? static_cast<uint32_t>(engine()) : device();
    }

    std::mt19937 engine{std::random_device{}()};
    websocketpp::config::asio_client::rng_type device;
};

struct Config : websocketpp::config::asio_client {
    typedef Config type;
    typedef Random rng_type;
};

using Client = websocketpp::client<Config>;
using Clock = std::chrono::steady_clock;
using Handle = websocketpp::connection_hdl;

constexpr long WARMUP_MS = 250;

double cpu_ns()
{
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

// What is counted between two instants.
struct Stretch {
    Clock::time_point began = Clock::now();
    double cpu_before_ns = cpu_ns();

    void print(const char *name, uint64_t count, uint64_t failed, double p50_ns, double p99_ns) const
    {
        std::chrono::duration<double> seconds = Clock::now() - began;
        double each = count ? static_cast<double>(count) : 1;
        std::printf("{\"name\": \"%s\", \"count\": %llu, \"failed\": %llu, \"seconds\": %.6f, "
                    "\"per_second\": %.1f, \"cpu_ns_each\": %.1f, \"p50_ns\": %.0f, "
                    "\"p99_ns\": %.0f}\n",
                    name, static_cast<unsigned long long>(count),
                    static_cast<unsigned long long>(failed), seconds.count(),
                    static_cast<double>(count) / seconds.count(),
                    (cpu_ns() - cpu_before_ns) / each, p50_ns, p99_ns);
    }
};

class Load
{
  public:
    Load(std::string uri, unsigned threads) : uri_(std::move(uri)), threads_(threads)
    {
        client_.clear_access_channels(websocketpp::log::alevel::all);
        client_.clear_error_channels(websocketpp::log::elevel::all);
        client_.init_asio();
        client_.set_tcp_post_init_handler([this](Handle handle) {
            client_.get_con_from_hdl(handle)->get_raw_socket().set_option(
                boost::asio::ip::tcp::no_delay(true));
        });
    }

  protected:
    ~Load() = default;

    Client::connection_ptr connection()
    {
        websocketpp::lib::error_code failed;
        Client::connection_ptr made = client_.get_connection(uri_, failed);
        if (failed) {
            throw std::runtime_error(uri_ + ": " + failed.message());
        }
        return made;
    }

    void run()
    {
        std::vector<std::thread> others;
        for (unsigned i = 1; i < threads_; i++) {
            others.emplace_back([this] { client_.run(); });
        }
        client_.run();
        for (std::thread &other : others) {
            other.join();
        }
    }

    Client client_;

  private:
    std::string uri_;
    unsigned threads_;
};

class Handshakes : public Load
{
  public:
    Handshakes(std::string uri, unsigned threads, uint64_t count, uint64_t low, uint64_t high)
        : Load(std::move(uri), threads), count_(count), low_(low), high_(high)
    {
        took_ns_.reserve(count);
    }

    void measure()
    {
        Stretch stretch;
        begin();
        run();
        std::sort(took_ns_.begin(), took_ns_.end());
        stretch.print("websocketpp handshakes", took_ns_.size(), failed_, percentile(0.5),
                      percentile(0.99));
    }

  private:
    double percentile(double share) const
    {
        size_t at = static_cast<size_t>(share * static_cast<double>(took_ns_.size()));
        return took_ns_.empty() ? 0 : took_ns_[std::min(at, took_ns_.size() - 1)];
    }

    // As many as there may be. The lock is not held while one is begun: websocketpp has its own.
    void begin()
    {
        while (may_begin()) {
            Client::connection_ptr one = connection();
            Clock::time_point began = Clock::now();
            one->set_open_handler([this](Handle handle) {
                websocketpp::lib::error_code ignored; // then it ends as a failed one
                client_.close(handle, websocketpp::close::status::going_away, "", ignored);
            });
            one->set_close_handler([this, began](Handle) { ended(began, true); });
            one->set_fail_handler([this, began](Handle handle) {
                explain(handle);
                ended(began, false);
            });
            client_.connect(one);
        }
    }

    void explain(Handle handle)
    {
        if (!explained_.exchange(true)) {
            std::fprintf(stderr, "the first that failed: %s\n",
                         client_.get_con_from_hdl(handle)->get_ec().message().c_str());
        }
    }

    bool may_begin()
    {
        std::lock_guard<std::mutex> guard(mutex_);
        if (throttled_ && in_flight_ < low_) {
            throttled_ = false;
        }
        if (throttled_ || begun_ == count_) {
            return false;
        }
        begun_++;
        throttled_ = ++in_flight_ >= high_;
        return true;
    }

    void ended(Clock::time_point began, bool well)
    {
        {
            std::lock_guard<std::mutex> guard(mutex_);
            in_flight_--;
            if (well) {
                took_ns_.push_back(static_cast<double>(
                    std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began)
                        .count()));
            } else {
                failed_++;
            }
        }
        begin();
    }

    std::mutex mutex_;
    uint64_t count_, low_, high_, begun_ = 0, in_flight_ = 0, failed_ = 0;
    bool throttled_ = false;
    std::atomic<bool> explained_{false};
    std::vector<double> took_ns_;
};

class Messages : public Load
{
  public:
    Messages(std::string uri, unsigned threads, unsigned connections, unsigned high, size_t bytes,
             double seconds)
        : Load(std::move(uri), threads), connections_(connections), high_(high),
          payload_(bytes, 'm'), measured_ms_(static_cast<long>(seconds * 1e3))
    {
    }

    void measure()
    {
        for (unsigned i = 0; i < connections_; i++) {
            Client::connection_ptr one = connection();
            Client::connection_ptr::element_type *self = one.get();
            one->set_open_handler([this](Handle) { opened(); });
            one->set_fail_handler([this](Handle) { fail(); });
            one->set_close_handler([this](Handle) {
                if (!over_) {
                    fail();
                }
            });
            one->set_message_handler([this, self](Handle, Client::message_ptr message) {
                echoed(*self, message->get_payload());
            });
            client_.connect(one);
            all_.push_back(one);
        }
        run();
    }

  private:
    void send(Client::connection_type &one)
    {
        if (one.send(payload_, websocketpp::frame::opcode::binary)) {
            fail();
        }
    }

    // Once all are open, each sends what may be in flight.
    void opened()
    {
        if (++open_ < connections_) {
            return;
        }
        for (Client::connection_ptr &one : all_) {
            for (unsigned i = 0; i < high_; i++) {
                send(*one);
            }
        }
        client_.set_timer(WARMUP_MS, [this](const websocketpp::lib::error_code &) {
            counted_before_ = echoes_;
            stretch_ = Stretch();
            client_.set_timer(measured_ms_,
                              [this](const websocketpp::lib::error_code &) { finish(); });
        });
    }

    void echoed(Client::connection_type &one, const std::string &payload)
    {
        if (payload.size() != payload_.size()) {
            fail();
        }
        echoes_.fetch_add(1, std::memory_order_relaxed);
        if (!over_.load(std::memory_order_relaxed)) {
            send(one);
        }
    }

    void finish()
    {
        over_ = true;
        stretch_.print("websocketpp messages", echoes_ - counted_before_, 0, 0, 0);
        std::fflush(stdout);
        client_.stop();
    }

    [[noreturn]] void fail()
    {
        std::fprintf(stderr, "websocketpp_client: a connection or a message failed\n");
        std::_Exit(1);
    }

    unsigned connections_, high_;
    std::string payload_;
    long measured_ms_;
    std::vector<Client::connection_ptr> all_;
    std::atomic<unsigned> open_{0};
    std::atomic<uint64_t> echoes_{0};
    std::atomic<bool> over_{false};
    uint64_t counted_before_ = 0;
    Stretch stretch_;
};

unsigned long number(const char *text)
{
    char *end;
    unsigned long value = std::strtoul(text, &end, 10);
    if (*end || end == text) {
        throw std::runtime_error(std::string(text) + " is no number");
    }
    return value;
}

} // namespace

int main(int argc, char **argv)
{
    cheap_random = argc > 1 && !std::strcmp(argv[1], "-r");
    argc -= cheap_random;
    argv += cheap_random;
    try {
        if (argc == 7 && !std::strcmp(argv[1], "handshakes")) {
            Handshakes(argv[2], static_cast<unsigned>(number(argv[3])), number(argv[4]),
                       number(argv[5]), number(argv[6]))
                .measure();
        } else if (argc == 8 && !std::strcmp(argv[1], "messages")) {
            Messages(argv[2], static_cast<unsigned>(number(argv[3])),
                     static_cast<unsigned>(number(argv[4])), static_cast<unsigned>(number(argv[5])),
                     number(argv[6]), std::strtod(argv[7], nullptr))
                .measure();
        } else {
            std::fprintf(stderr, "usage: websocketpp_client [-r] handshakes URI THREADS CONNECTIONS LOW "
                                 "HIGH\n       websocketpp_client [-r] messages URI THREADS CONNECTIONS "
                                 "HIGH BYTES SECONDS\n");
            return 2;
        }
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "websocketpp_client: %s\n", failure.what());
        return 1;
    }
    return 0;
}
