/* The plot: every character of small drawings. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/plot.h"

static char *draw(const struct plot *plot)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    assert_int_equal(plot_print(plot, out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void check(const struct plot *plot, const char *expected)
{
    char *text = draw(plot);
    if (strcmp(text, expected) != 0) {
        fail_msg("is:\n%s\nis not:\n%s", text, expected);
    }
    free(text);
}

static const double x[] = {1, 10, 100, 1000, 10000};
static const char *const x_texts[] = {"1", "10", "100", "1k", "10k"};
static const double rising[] = {1e3, 1e4, 1e5, 1e6, 1e7};
static const double gap[] = {1e6, 1e6, NAN, 1e4, 1e4};
static const struct plot_series two[] = {{"pipe", rising}, {"local", gap}};

static void logarithmic(void **state)
{
    (void)state;
    struct plot plot = {"buffer", "calls_per_second", "1/s", x_texts, x, 5, two, 2, 46, 9, true};
    check(&plot, "  calls_per_second (1/s, log)\n"
                 "   10 M +                             ...*\n"
                 "        |                          ....\n"
                 "    1 M ++.......+             ..*.\n"
                 "        |                   ....\n"
                 "  100 k +               .*..\n"
                 "        |           ....\n"
                 "   10 k +       .*..             +.......+\n"
                 "        |   ....\n"
                 "    1 k +*...\n"
                 "        ++-------+-------+-------+-------+\n"
                 "         1      10      100     1k      10k\n"
                 "         buffer (log):  * pipe  + local\n");
    plot.ascii = false;
    check(&plot, "  calls_per_second (1/s, log)\n"
                 "   10 M ┤                             ⢀⡠⠔●\n"
                 "        │                          ⣀⠤⠊⠁\n"
                 "    1 M ┤▲⠒⠒⠒⠒⠒⠒⠒▲             ⢀⡠●⠉\n"
                 "        │                   ⣀⠔⠊⠁\n"
                 "  100 k ┤               ⣀●⠒⠉\n"
                 "        │           ⣀⠤⠒⠉\n"
                 "   10 k ┤       ⣀●⠒⠉             ▲⠤⠤⠤⠤⠤⠤⠤▲\n"
                 "        │   ⢀⠤⠒⠉\n"
                 "    1 k ┤●⠔⠊⠁\n"
                 "        └┬───────┬───────┬───────┬───────┬\n"
                 "         1      10      100     1k      10k\n"
                 "         buffer (log):  ● pipe  ▲ local\n");
}

static void linear(void **state)
{
    (void)state;
    static const double near[] = {1, 2, 3, 4, 5}, low[] = {30, 10, 20, 20, 30};
    static const struct plot_series one[] = {{"p99", low}};
    struct plot plot = {"connections", "response_time.p99", "ns", x_texts, near, 5, one, 1, 0, 0,
                        true};
    check(&plot, "  response_time.p99 (ns)\n"
                 "        |*.                     ...*\n"
                 "  20 ns +  ..        .*......*..\n"
                 "        |    ..  ....\n"
                 "        |      *.\n"
                 "   0 ns +\n"
                 "        ++-----+------+------+-----+\n"
                 "         1    10     100    1k    10k\n"
                 "         connections:  * p99\n");
}

static void words_stand_side_by_side(void **state)
{
    (void)state;
    static const double none[] = {NAN, NAN, NAN};
    static const char *const words[] = {"pipe", "local", "tcp"};
    static const double same[] = {2048, 2048, 2048};
    static const struct plot_series one[] = {{"a", same}, {"b", same}};
    struct plot plot = {"transport", "bytes_per_second", "bytes/s", words, none, 3, one, 2, 50, 5,
                        true};
    check(&plot, "  bytes_per_second (bytes/s)\n"
                 "  2 KiB/s +&                &                &\n"
                 "          |\n"
                 "  1 KiB/s +\n"
                 "          |\n"
                 "    0 B/s +\n"
                 "          ++----------------+----------------+\n"
                 "           pipe           local             tcp\n"
                 "           transport:  * a  + b  & several\n");
}

static void nothing_known(void **state)
{
    (void)state;
    static const double none[] = {NAN, INFINITY};
    static const struct plot_series one[] = {{"a", none}};
    struct plot plot = {"size", "y", "1/s", x_texts, x, 2, one, 1, 80, 10, true};
    check(&plot, "");
    plot.count = 0;
    check(&plot, "");
}

/* Any values: no line is wider than asked for, and nothing is drawn outside (the sanitizer sees).
 */
static void any_values(void **state)
{
    (void)state;
    static const double values[] = {0, -1, 1, 5e-324, 1e300, -1e300, 3.7, NAN, 1e-9, 65536};
    static const char *const units[] = {"1/s", "ns", "bytes", "bytes/s", "1"};
    enum { VALUES = sizeof values / sizeof *values };
    for (size_t a = 0; a < VALUES; a++) {
        for (size_t b = 0; b < VALUES; b++) {
            for (size_t u = 0; u < 5; u++) {
                const double xs[] = {values[b], values[a], values[(a + b) % VALUES]};
                const double ys[] = {values[a], values[b], values[(a * 3 + b) % VALUES]};
                const struct plot_series one[] = {{"a", ys}};
                struct plot plot = {"x", "y", units[u], x_texts, xs, 3, one, 1, 80, 12, u % 2 == 0};
                char *text = draw(&plot);
                for (char *line = text; *line; line += strcspn(line, "\n") + 1) {
                    size_t width = 0;
                    for (size_t i = 0; line[i] != '\n'; i++) {
                        width += ((unsigned char)line[i] & 0xc0) != 0x80;
                    }
                    assert_true(width <= 80);
                }
                free(text);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithmic),
        cmocka_unit_test(linear),
        cmocka_unit_test(words_stand_side_by_side),
        cmocka_unit_test(nothing_known),
        cmocka_unit_test(any_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
