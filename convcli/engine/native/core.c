/* The core: layout of a job, one copy of conv.inl and tone.inl for each instruction set, and the choice among them. */
#include "core.h"

#include <math.h>
#include <string.h>

/* Output rows that are summed at once, in registers. */
#define MOST_ROWS 4

/* Where things lie while a job runs. A *line* is one padded row of one plane, converted to the type of the sums; with a
 * horizontal stride its residues lie one after the other, so that neighbouring outputs read neighbouring numbers.
 * Lines are kept in a ring: the rows of one window and of the outputs made together. */
typedef struct {
    int32_t places[CV_MOST_KERNEL_W]; /* of each tap in a line, for output 0 */
    int32_t low, high;                /* padded columns that lie side by side in the image: the longest run */
    int32_t gap;                      /* output rows summed together are this far apart, so that they share lines; ... */
    int32_t pace;                     /* ... each one's window starts so many lines after the one's before */
    int32_t rows, ring, most_lines;   /* output rows at once; lines kept of a plane; lines that they read */
    ptrdiff_t part, line;             /* numbers in one residue of a line, and in all */
    size_t table_bytes;
} layout;

static void lay_out(const cv_job *job, const cv_source *source, layout *at, size_t item)
{
    const int32_t reach = (job->kernel_w - 1) * job->dilation_w;
    /* Vectors may read beyond the last output: 192 numbers more are the widest tile. */
    at->part = ((ptrdiff_t)(job->out_w + reach / job->stride_w + 1) * job->lanes + 191) / 16 * 16;
    for (int32_t k = 0; k < job->kernel_w; k++) {
        const int32_t column = k * job->dilation_w;
        at->places[k] = (int32_t)(column % job->stride_w * at->part + column / job->stride_w * job->lanes);
    }
    const int32_t parts = reach + 1 < job->stride_w ? reach + 1 : job->stride_w;
    at->line = at->part * parts;
    if (at->line * (ptrdiff_t)item % 4096 == 0) at->line += 16; /* or all lines would fall into one set of the cache */
    at->gap = job->stride_h == 1 ? job->dilation_h : 1;
    at->pace = job->stride_h;
    at->rows = job->stride_h > 1 && job->dilation_h > 1 ? 1 : MOST_ROWS; /* windows that share no lines */
    at->ring = (at->rows * at->gap - 1) * job->stride_h + (job->kernel_h - 1) * job->dilation_h + 1;
    at->most_lines = (at->rows - 1) * at->pace + job->kernel_h;
    at->table_bytes = (size_t)job->n_in * at->most_lines * 2 * sizeof(void *) + at->most_lines;
    at->low = at->high = 0;
    if (!source) return;
    const int32_t *columns = source->columns;
    for (int32_t c = 0, from = 0; c < source->n_columns; c++) {
        if (c == 0 || columns[c] != columns[c - 1] + 1 || columns[c] <= 0) from = c;
        if (columns[c] >= 0 && c + 1 - from > at->high - at->low) at->low = from, at->high = c + 1;
    }
}

size_t cv_conv_bytes(const cv_job *job, int32_t is_double)
{
    layout at;
    const size_t item = is_double ? 8 : 4;
    lay_out(job, 0, &at, item);
    return (size_t)job->n_in * at.ring * at.line * item + (at.table_bytes + 127) / 64 * 64;
}

static size_t picture_values(const cv_job *job)
{
    return (size_t)job->n_out * MOST_ROWS * job->out_w * job->lanes;
}

size_t cv_picture_bytes(const cv_job *job)
{
    return (cv_conv_bytes(job, 0) + 63) / 64 * 64 + picture_values(job) * sizeof(float);
}

#define JOIN_(A, B) A##_##B
#define JOIN(A, B) JOIN_(A, B)
#if defined(__x86_64__)
#define HAS_LEVELS 1
#endif

/* ROWS times VECTORS sums, VECTORS samples and a tap fit into the registers of each. */
#define SET base
#define BYTES 16
#define ROWS MOST_ROWS
#ifdef __aarch64__
#define VECTORS 6
#else
#define VECTORS 2
#endif
#include "set.inl"

#ifdef HAS_LEVELS
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define SET avx2
#define BYTES 32
#define ROWS MOST_ROWS
#define VECTORS 3
#include "set.inl"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
#endif
#define SET avx512
#define BYTES 64
#define ROWS MOST_ROWS
#define VECTORS 6
#include "set.inl"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#ifdef HAS_LEVELS
#include <cpuid.h>
/* Asks the processor itself: __builtin_cpu_supports is wrong under some versions of clang. */
int32_t cv_best_level(void)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0)); /* which registers the system keeps */
    if ((low & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return 0;
    const unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    return (low & 0xe6) == 0xe6 && (b & wide) == wide ? 2 : 1;
}
#else
int32_t cv_best_level(void)
{
    return 0;
}
#endif

static int32_t level; /* set when the module is loaded, and by tests */

int32_t cv_use_level(int32_t wanted)
{
    const int32_t best = cv_best_level();
    return level = wanted < 0 ? 0 : wanted < best ? wanted : best;
}

const char *cv_level_name(int32_t of)
{
#if defined(__aarch64__)
    return of ? "none" : "NEON";
#elif defined(HAS_LEVELS)
    return of == 2 ? "AVX-512" : of == 1 ? "AVX2" : "SSE2";
#else
    return of ? "none" : "baseline";
#endif
}

#ifdef HAS_LEVELS
#define CALL(F, ...)                                                                                                   \
    do {                                                                                                               \
        if (level == 2) F##_avx512(__VA_ARGS__);                                                                       \
        else if (level == 1) F##_avx2(__VA_ARGS__);                                                                    \
        else F##_base(__VA_ARGS__);                                                                                    \
    } while (0)
#else
#define CALL(F, ...) F##_base(__VA_ARGS__)
#endif

void cv_conv_f32(const cv_job *job, const cv_source *source, const float *taps, const float *bias, int64_t n_rows,
                 float *out, int64_t map_step, int64_t row_step, void *scratch)
{
    int64_t gathered = 0;
    CALL(conv_f, job, source, taps, bias, 0, n_rows, &gathered, out, map_step, row_step, scratch);
}

void cv_conv_f64(const cv_job *job, const cv_source *source, const double *taps, const double *bias, int64_t n_rows,
                 double *out, int64_t map_step, int64_t row_step, void *scratch)
{
    int64_t gathered = 0;
    CALL(conv_d, job, source, taps, bias, 0, n_rows, &gathered, out, map_step, row_step, scratch);
}

void cv_magnitude_f32(const float *first, const float *second, float *out, int64_t n)
{
    CALL(magnitude, first, second, out, n);
}

static void begin(cv_tone *tones, int32_t n)
{
    for (int32_t k = 0; k < n; k++) {
        cv_tone *tone = tones + k;
        tone->least = INFINITY, tone->most = -INFINITY, tone->total = tone->squares = 0, tone->shift = NAN;
        tone->n_low = tone->n_high = tone->n_nan = 0;
    }
}

void cv_store_u8(const float *maps, int64_t map_step, int64_t row_step, int32_t n_maps, int64_t n_rows, int64_t n,
                 cv_tone *tones, uint8_t *out, int64_t out_step)
{
    uint8_t planes[CV_MOST_LANES][1024]; /* a piece of a row of each map, in the cache until it is interleaved */
    begin(tones, n_maps);
    for (int64_t y = 0; y < n_rows; y++) {
        const char *row = (const char *)maps + y * row_step;
        uint8_t *to = out + y * out_step;
        if (n_maps == 1) {
            CALL(store, (const float *)row, n, 1, tones, to);
            continue;
        }
        for (int64_t c = 0; c < n; c += 1024) {
            const int64_t count = n - c < 1024 ? n - c : 1024;
            for (int32_t m = 0; m < n_maps; m++)
                CALL(store, (const float *)(row + m * map_step) + c, count, 1, tones + m, planes[m]);
            CALL(interleave, planes, n_maps, count, to + c * n_maps);
        }
    }
}

void cv_picture_u8(const cv_job *job, const cv_source *source, const float *taps, const float *bias,
                   enum cv_combine combine, int64_t n_rows, cv_tone *tones, uint8_t *out, int64_t out_step,
                   void *scratch)
{
    const int64_t n = (int64_t)job->out_w * job->lanes;
    float *maps = (float *)((char *)scratch + (cv_conv_bytes(job, 0) + 63) / 64 * 64);
    int64_t gathered = 0;
    begin(tones, job->lanes);
    for (int64_t y = 0; y < n_rows; y += MOST_ROWS) {
        const int64_t rows = n_rows - y < MOST_ROWS ? n_rows - y : MOST_ROWS;
        CALL(conv_f, job, source, taps, bias, y, rows, &gathered, maps, MOST_ROWS * n * 4, n * 4, scratch);
        for (int64_t r = 0; r < rows; r++) {
            float *values = maps + r * n;
            if (combine == CV_MAGNITUDE) CALL(magnitude, values, values + MOST_ROWS * n, values, n);
            CALL(store, values, n, job->lanes, tones, out + (y + r) * out_step);
        }
    }
}
