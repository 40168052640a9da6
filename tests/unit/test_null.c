/* The null engine gives back what it is sent: datagrams as they were sent. */
#include "engine_world.h"

static struct variant null = {&engine_null, URING_RECEIVE_AUTO};

static struct end *null_end(struct world *world, enum channel_kind kind, uint32_t options)
{
    struct end *end = calloc(1, sizeof *end);
    assert_non_null(end);
    end->world = world;
    end->channel = (struct channel){
        .fd = -1, .write_fd = -1, .kind = (uint8_t)kind, .options = (uint8_t)(options & 127)};
    assert_int_equal(world->engine->ops->add(world->engine, &end->channel), 0);
    return end;
}

static enum submit_result try_send(struct end *end, struct op op)
{
    op.kind = OP_SEND;
    op.channel = &end->channel;
    enum submit_result result = end->world->engine->ops->submit(end->world->engine, &op);
    end->send_result = op.result;
    return result;
}

static void test_messages(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    struct end *end = null_end(&world, CHANNEL_DATAGRAM, 0);
    uint8_t data[150];
    fill(data, sizeof data);
    start_receiving(end);
    static const size_t lengths[] = {1, 0, 100, 150, 0, 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(try_send(end, (struct op){.data = data, .length = lengths[i]}),
                         SUBMIT_DONE);
        assert_int_equal(end->send_result, lengths[i]);
        assert_int_equal(end->letter_count, i); /* at the next reap, not before */
        assert_int_equal(try_send(end, (struct op){.data = data, .length = 1}), SUBMIT_BUSY);
        assert_int_equal(try_send(end, (struct op){.data = data, .length = 1, .flags = OP_TRY}),
                         SUBMIT_DONE);
        assert_int_equal(end->send_result, -EAGAIN);
        reap_until(&world, 0);
        assert_int_equal(end->letter_count, i + 1);
        const struct letter *letter = &end->letters[i];
        assert_int_equal(letter->length, lengths[i]);
        assert_int_equal(letter->result, lengths[i] < 100 ? lengths[i] : 100);
        assert_memory_equal(end->received + letter->at, data, (size_t)letter->result);
    }
    end_close(end);
    world_close(&world);
}

static void test_segments(void **state)
{
    for (uint32_t options = 0; options <= CHANNEL_SEGMENTS; options++) {
        for (int pause = 0; pause < 2; pause++) {
            struct world world;
            world_open(&world, state, 4096);
            struct end *end = null_end(&world, CHANNEL_DATAGRAM, options);
            uint8_t data[1001];
            fill(data, sizeof data);
            end->pause_after_receive = pause;
            start_receiving(end);
            assert_int_equal(
                try_send(end, (struct op){.data = data, .length = sizeof data, .segment = 100}),
                SUBMIT_DONE);
            size_t count = options ? 1 : 11;
            for (size_t i = 0; i < count; i++) {
                if (pause && i) {
                    start_receiving(end);
                }
                if (pause || i == 0) {
                    reap_until(&world, 0);
                }
                assert_true(end->letter_count == (pause ? i + 1 : count));
                assert_int_equal(end->letters[i].segment, options ? 100 : 0);
                assert_int_equal(end->letters[i].result, options ? 1001 : i < 10 ? 100 : 1);
            }
            assert_memory_equal(end->received, data, sizeof data);
            end_close(end);
            world_close(&world);
        }
    }
}

/* What one of many peers is sent need not outlive the call, and comes back as from that peer. */
static void test_peer(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    struct end *end = null_end(&world, CHANNEL_MANY, CHANNEL_STAMPS);
    start_receiving(end);
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t value = i;
        struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = (in_port_t)i};
        struct op op = {.data = (uint8_t *)&value,
                        .length = i == 2 ? 0 : sizeof value,
                        .peer = (struct sockaddr *)&peer,
                        .peer_length = sizeof peer};
        assert_int_equal(try_send(end, op), SUBMIT_DONE);
        assert_int_equal(end->send_result, op.length);
        assert_int_equal(try_send(end, op), SUBMIT_DONE);
        assert_int_equal(end->send_result, -EAGAIN);
        value = 99;
        peer.sin_port = 99;
        reap_until(&world, 0);
        const struct letter *letter = &end->letters[i];
        assert_int_equal(end->letter_count, i + 1);
        assert_int_equal(letter->result, op.length);
        assert_memory_equal(end->received + letter->at, &i, op.length);
        assert_int_equal(letter->peer_length, sizeof peer);
        assert_int_equal(((const struct sockaddr_in *)&letter->peer)->sin_port, i);
        assert_true(letter->stamped);
        assert_int_equal(letter->stamps.sent_ns + letter->stamps.received_ns, 0);
    }
    end_close(end);
    world_close(&world);
}

/* A sender in bulk that never receives is not held up by what it has sent. */
static void test_only_sends(void **state)
{
    for (int kind = 0; kind < 2; kind++) {
        struct world world;
        world_open(&world, state, 100);
        struct end *end = null_end(&world, kind ? CHANNEL_DATAGRAM : CHANNEL_SOCKET, 0);
        uint8_t data[1000] = {0};
        for (int i = 0; i < 100; i++) {
            assert_int_equal(try_send(end, (struct op){.data = data, .length = sizeof data}),
                             SUBMIT_DONE);
            assert_int_equal(end->send_result, sizeof data);
            reap_until(&world, 0);
        }
        assert_int_equal(world.deliveries, 0);
        end_close(end);
        world_close(&world);
    }
}

/* What comes back is put where a receive says, in pieces of that size. */
static void test_memory(void **state)
{
    struct world world;
    world_open(&world, state, 100);
    struct end *end = null_end(&world, CHANNEL_SOCKET, 0);
    uint8_t data[1000], memory[300];
    fill(data, sizeof data);
    end->memory = memory;
    end->memory_bytes = sizeof memory;
    start_receiving(end);
    assert_int_equal(try_send(end, (struct op){.data = data, .length = sizeof data}), SUBMIT_DONE);
    reap_until(&world, 0);
    assert_int_equal(end->receives, 4);
    assert_int_equal(end->received_length, sizeof data);
    assert_memory_equal(end->received, data, sizeof data);
    end_close(end);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_prestate(test_messages, &null),
        cmocka_unit_test_prestate(test_segments, &null),
        cmocka_unit_test_prestate(test_peer, &null),
        cmocka_unit_test_prestate(test_only_sends, &null),
        cmocka_unit_test_prestate(test_memory, &null),
    };
    return cmocka_run_group_tests_name("null", cases, NULL, NULL);
}
