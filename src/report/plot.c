#include "report/plot.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "report/text.h"

#define COLUMNS_LEAST 40
#define ROWS_LEAST 5
#define TICKS_MAX 64
#define LABEL_BYTES 32
/* A braille pattern is two dots wide and four high. */
#define DOTS_X 2
#define DOTS_Y 4
/* From this factor on, equal steps of a linear axis would hide what happens at its low end. */
#define LOG_FACTOR 10
/* In place of a mark: marks of several series stand here. */
#define SEVERAL (PLOT_SERIES_MAX + 1)

static const char *const marks[2][SEVERAL] = {
    {"●", "▲", "■", "◆", "○", "△", "□", "◇", "✳"},
    {"*", "+", "o", "x", "@", "#", "%", "=", "&"},
};

struct scale {
    double low, high;
    bool logarithmic;
};

struct tick {
    size_t row;
    char label[LABEL_BYTES];
};

struct canvas {
    size_t columns, rows; /* in characters */
    unsigned char *dots;  /* owned: a braille pattern's eight bits for each character */
    unsigned char *mark;  /* owned: 0: none; 1..: of which series */
    bool several;
};

struct drawing {
    const struct plot *plot;
    struct scale x, y;
    bool side_by_side;
    struct canvas canvas;
    struct tick ticks[TICKS_MAX];
    size_t tick_count, label_width;
};

/* ---- scales ---- */

/* 0..1 along the axis, whatever the values are. */
static double place(const struct scale *scale, double value)
{
    double share = scale->logarithmic
                       ? (log(value) - log(scale->low)) / (log(scale->high) - log(scale->low))
                       : (value - scale->low) / (scale->high - scale->low);
    return isnan(share) ? 0.5 : fmin(fmax(share, 0), 1);
}

static void scale_take(struct scale *scale, double value)
{
    if (isfinite(value)) {
        scale->low = fmin(scale->low, value);
        scale->high = fmax(scale->high, value);
    }
}

static double x_of(const struct drawing *drawing, size_t i)
{
    return drawing->side_by_side ? (double)i : drawing->plot->x[i];
}

/* False where no value is known. */
static bool find_scales(struct drawing *drawing)
{
    const struct plot *plot = drawing->plot;
    struct scale none = {INFINITY, -INFINITY, false};
    drawing->x = drawing->y = none;
    for (size_t i = 0; i < plot->count; i++) {
        drawing->side_by_side |= !isfinite(plot->x[i]);
    }
    for (size_t i = 0; i < plot->count; i++) {
        scale_take(&drawing->x, x_of(drawing, i));
        for (size_t s = 0; s < plot->series_count; s++) {
            scale_take(&drawing->y, plot->series[s].y[i]);
        }
    }
    struct scale *x = &drawing->x, *y = &drawing->y;
    if (!(y->high >= y->low)) {
        return false;
    }
    x->logarithmic = !drawing->side_by_side && x->low > 0 && x->high / x->low >= LOG_FACTOR;
    y->logarithmic = y->low > 0 && y->high / y->low >= LOG_FACTOR;
    if (!y->logarithmic) {
        y->low = fmin(y->low, 0);
        y->high = y->high > y->low ? y->high : y->low + 1;
    }
    return true;
}

/* ---- ticks of the vertical axis ---- */

static bool is_binary(const char *unit)
{
    return strncmp(unit, "bytes", 5) == 0;
}

static void label_tick(char *to, double value, const char *unit)
{
    char text[UNITS_TEXT_MAX + 16];
    if (strcmp(unit, "1/s") == 0 || strcmp(unit, "1") == 0) {
        units_si(text, value, "");
    } else {
        text_value(text, sizeof text, value, unit);
    }
    /* "20.0 M" says no more than "20 M". */
    char *point = strchr(text, '.');
    size_t zeros = point ? strspn(point + 1, "0") : 0;
    if (point && point[1 + zeros] != '\0' && (point[1 + zeros] < '0' || point[1 + zeros] > '9')) {
        memmove(point, point + 1 + zeros, strlen(point + 1 + zeros) + 1);
    }
    size_t length = strlen(text);
    while (length && text[length - 1] == ' ') {
        text[--length] = '\0';
    }
    snprintf(to, LABEL_BYTES, "%s", text);
}

static size_t tick_row(const struct drawing *drawing, double value)
{
    double dots = (double)(drawing->canvas.rows * DOTS_Y - 1);
    double at = (1 - place(&drawing->y, value)) * dots;
    return (size_t)lround(fmin(fmax(at, 0), dots)) / DOTS_Y;
}

static void add_tick(struct drawing *drawing, double value)
{
    const struct scale *y = &drawing->y;
    double slack = (y->high - y->low) * 1e-9;
    if (value < y->low - slack || value > y->high + slack || drawing->tick_count == TICKS_MAX) {
        return;
    }
    struct tick *tick = &drawing->ticks[drawing->tick_count++];
    tick->row = tick_row(drawing, value);
    label_tick(tick->label, value, drawing->plot->y_unit);
}

/* The number of a logarithmic axis at an index: 1 2 5 10 20 50 …, or powers of two. */
static double log_number(bool binary, long index)
{
    static const double steps[] = {1, 2, 5};
    if (binary) {
        return ldexp(1, (int)index);
    }
    long decade = index >= 0 ? index / 3 : -((2 - index) / 3);
    return pow(10, (double)decade) * steps[index - decade * 3];
}

static void make_log_ticks(struct drawing *drawing, size_t most)
{
    static const long strides[] = {1, 3, 6, 9, 15, 30, 60, 90, 300};
    static const long strides_binary[] = {1, 2, 5, 10, 20, 50, 100, 200, 500};
    const struct scale *y = &drawing->y;
    bool binary = is_binary(drawing->plot->y_unit);
    double per_step = binary ? log(2) : log(10) / 3;
    long first = (long)floor(log(y->low) / per_step) - 2;
    long last = (long)ceil(log(y->high) / per_step) + 2;
    for (size_t level = 0; level < sizeof strides / sizeof *strides; level++) {
        long stride = binary ? strides_binary[level] : strides[level];
        drawing->tick_count = 0;
        for (long i = first; i <= last; i++) {
            if (i % stride == 0) {
                add_tick(drawing, log_number(binary, i));
            }
        }
        if (drawing->tick_count <= most) {
            return;
        }
    }
}

static void make_linear_ticks(struct drawing *drawing, size_t most)
{
    static const double nice[] = {1, 2, 5, 10};
    const struct scale *y = &drawing->y;
    double least = (y->high - y->low) / (double)(most - 1), step = 0;
    if (is_binary(drawing->plot->y_unit)) {
        step = exp2(ceil(log2(least)));
    } else {
        double decade = pow(10, floor(log10(least)));
        for (size_t i = 0; i < sizeof nice / sizeof *nice && step < least * (1 - 1e-9); i++) {
            step = decade * nice[i];
        }
    }
    for (double i = ceil(y->low / step - 1e-9); i * step <= y->high * (1 + 1e-9); i++) {
        add_tick(drawing, i * step);
    }
}

/* Terminal columns of a label. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void make_ticks(struct drawing *drawing)
{
    size_t most = drawing->canvas.rows / 3 + 2;
    if (drawing->y.logarithmic) {
        make_log_ticks(drawing, most);
    } else {
        make_linear_ticks(drawing, most);
    }
    for (size_t i = 0; i < drawing->tick_count; i++) {
        size_t width = width_of(drawing->ticks[i].label);
        drawing->label_width = width > drawing->label_width ? width : drawing->label_width;
    }
}

/* ---- canvas ---- */

static void put_dot(struct canvas *canvas, long x, long y)
{
    /* Unicode, Braille Patterns: bits 0..2 and 6 are the left column from above, 3..5 and 7 the
     * right one. */
    static const unsigned char bits[DOTS_Y][DOTS_X] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    size_t cell = (size_t)(y / DOTS_Y) * canvas->columns + (size_t)(x / DOTS_X);
    canvas->dots[cell] |= bits[y % DOTS_Y][x % DOTS_X];
}

struct dot {
    long x, y;
};

static struct dot dot_of(const struct drawing *drawing, size_t i, double value)
{
    double width = (double)(drawing->canvas.columns * DOTS_X - 1);
    double height = (double)(drawing->canvas.rows * DOTS_Y - 1);
    return (struct dot){lround(place(&drawing->x, x_of(drawing, i)) * width),
                        lround((1 - place(&drawing->y, value)) * height)};
}

static void draw_line(struct canvas *canvas, struct dot from, struct dot to)
{
    long wide = labs(to.x - from.x), high = labs(to.y - from.y);
    long steps = wide > high ? wide : high;
    for (long i = 0; i <= steps; i++) {
        double share = steps ? (double)i / (double)steps : 0;
        put_dot(canvas, from.x + lround(share * (double)(to.x - from.x)),
                from.y + lround(share * (double)(to.y - from.y)));
    }
}

static void draw_series(struct drawing *drawing, size_t index)
{
    const double *y = drawing->plot->series[index].y;
    struct canvas *canvas = &drawing->canvas;
    for (size_t i = 0; i < drawing->plot->count; i++) {
        if (!isfinite(y[i])) {
            continue;
        }
        struct dot here = dot_of(drawing, i, y[i]);
        /* Between words there is nothing for a line to say. */
        if (i > 0 && isfinite(y[i - 1]) && !drawing->side_by_side) {
            draw_line(canvas, dot_of(drawing, i - 1, y[i - 1]), here);
        }
        unsigned char *mark =
            &canvas->mark[(size_t)(here.y / DOTS_Y) * canvas->columns + (size_t)(here.x / DOTS_X)];
        if (*mark && *mark != index + 1) {
            *mark = SEVERAL;
            canvas->several = true;
        } else {
            *mark = (unsigned char)(index + 1);
        }
    }
}

static void put_cell(const struct drawing *drawing, size_t cell, FILE *out)
{
    unsigned char mark = drawing->canvas.mark[cell], dots = drawing->canvas.dots[cell];
    if (mark) {
        fputs(marks[drawing->plot->ascii][mark - 1], out);
    } else if (!dots) {
        fputc(' ', out);
    } else if (drawing->plot->ascii) {
        fputc('.', out);
    } else {
        /* U+2800 and the pattern's bits */
        fprintf(out, "\xe2%c%c", 0xa0 | dots >> 6, 0x80 | (dots & 0x3f));
    }
}

static void print_area(const struct drawing *drawing, FILE *out)
{
    const struct canvas *canvas = &drawing->canvas;
    bool ascii = drawing->plot->ascii;
    for (size_t row = 0; row < canvas->rows; row++) {
        const char *label = "";
        for (size_t i = 0; i < drawing->tick_count; i++) {
            label = drawing->ticks[i].row == row ? drawing->ticks[i].label : label;
        }
        const char *axis = *label ? (ascii ? "+" : "┤") : (ascii ? "|" : "│");
        fprintf(out, "  %*s%s %s", (int)(drawing->label_width - width_of(label)), "", label, axis);
        size_t last = canvas->columns;
        while (last > 0 && !canvas->mark[row * canvas->columns + last - 1] &&
               !canvas->dots[row * canvas->columns + last - 1]) {
            last--;
        }
        for (size_t column = 0; column < last; column++) {
            put_cell(drawing, row * canvas->columns + column, out);
        }
        fputc('\n', out);
    }
}

/* ---- below the area ---- */

/* Puts the text of an x where there is room, a blank on each side. */
static void put_text(const struct drawing *drawing, size_t i, char *line, char *notch, size_t width)
{
    const char *text = drawing->plot->x_texts[i];
    size_t length = strlen(text);
    size_t column = (size_t)dot_of(drawing, i, drawing->y.high).x / DOTS_X;
    size_t start = column > length / 2 ? column - length / 2 : 0;
    if (length > width || width_of(text) != length) {
        return;
    }
    start = start + length > width ? width - length : start;
    size_t from = start > 0 ? start - 1 : 0, to = start + length + 1;
    for (size_t c = from; c < (to < width ? to : width); c++) {
        if (line[c] != ' ') {
            return;
        }
    }
    memcpy(line + start, text, length);
    notch[column] = 1;
}

/* The first and the last x first: they say what the range is. */
static int print_axis(const struct drawing *drawing, FILE *out)
{
    size_t columns = drawing->canvas.columns, width = columns + 4;
    size_t count = drawing->plot->count;
    bool ascii = drawing->plot->ascii;
    char *line = malloc(width + 1), *notch = calloc(width, 1);
    if (!line || !notch) {
        free(line);
        free(notch);
        return -1;
    }
    memset(line, ' ', width);
    put_text(drawing, 0, line, notch, width);
    put_text(drawing, count - 1, line, notch, width);
    for (size_t i = 1; i + 1 < count; i++) {
        put_text(drawing, i, line, notch, width);
    }
    while (width > 0 && line[width - 1] == ' ') {
        width--;
    }
    line[width] = '\0';
    fprintf(out, "  %*s %s", (int)drawing->label_width, "", ascii ? "+" : "└");
    for (size_t c = 0; c < columns; c++) {
        fputs(notch[c] ? (ascii ? "+" : "┬") : (ascii ? "-" : "─"), out);
    }
    fprintf(out, "\n  %*s  %s\n", (int)drawing->label_width, "", line);
    free(line);
    free(notch);
    return 0;
}

static void print_legend(const struct drawing *drawing, FILE *out)
{
    const struct plot *plot = drawing->plot;
    fprintf(out, "  %*s  %s%s:", (int)drawing->label_width, "", plot->x_title,
            drawing->x.logarithmic ? " (log)" : "");
    size_t start = drawing->label_width + 5 + width_of(plot->x_title) +
                   (drawing->x.logarithmic ? strlen(" (log)") : 0);
    size_t column = start;
    for (size_t s = 0; s < plot->series_count + drawing->canvas.several; s++) {
        bool several = s == plot->series_count;
        const char *name = several ? "several" : plot->series[s].name;
        size_t width = width_of(name) + 4;
        if (column > start && column + width > plot->columns) {
            fprintf(out, "\n%*s", (int)start, "");
            column = start;
        }
        fprintf(out, "  %s %s", marks[plot->ascii][several ? SEVERAL - 1 : s], name);
        column += width;
    }
    fputc('\n', out);
}

int plot_print(const struct plot *plot, FILE *out)
{
    struct drawing drawing = {.plot = plot};
    struct canvas *canvas = &drawing.canvas;
    if (plot->count == 0 || plot->series_count > PLOT_SERIES_MAX || !find_scales(&drawing)) {
        return 0;
    }
    canvas->rows = plot->rows > ROWS_LEAST ? plot->rows : ROWS_LEAST;
    make_ticks(&drawing);
    size_t all = plot->columns > COLUMNS_LEAST ? plot->columns : COLUMNS_LEAST;
    canvas->columns = all - drawing.label_width - 4 - 4; /* margins; half a text beyond the end */
    canvas->dots = calloc(canvas->rows * canvas->columns, 1);
    canvas->mark = calloc(canvas->rows * canvas->columns, 1);
    int result = canvas->dots && canvas->mark ? 0 : -1;
    if (result == 0) {
        for (size_t s = 0; s < plot->series_count; s++) {
            draw_series(&drawing, s);
        }
        fprintf(out, "  %s (%s%s)\n", plot->y_title, plot->y_unit,
                drawing.y.logarithmic ? ", log" : "");
        print_area(&drawing, out);
        result = print_axis(&drawing, out);
        print_legend(&drawing, out);
    }
    free(canvas->dots);
    free(canvas->mark);
    return result;
}
