/* Random convolutions, magnitudes and tones of the core against plain loops in double, at every instruction set.
 *
 *     check N      N cases a set; the last line is a sum over all stored bytes, the same on every processor
 *     check break  reads a row beyond the image, for sanitizers to find
 */
#include "core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static int upto(int n) /* 0 to n - 1, the same everywhere */
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

static double sample(const void *samples, int type, size_t at)
{
    switch (type) {
    case CV_U8: return ((const uint8_t *)samples)[at];
    case CV_I16: return ((const int16_t *)samples)[at];
    case CV_U16: return ((const uint16_t *)samples)[at];
    case CV_F32: return ((const float *)samples)[at];
    default: return ((const double *)samples)[at];
    }
}

static void set(void *samples, int type, size_t at, int value)
{
    switch (type) {
    case CV_U8: ((uint8_t *)samples)[at] = (uint8_t)value; break;
    case CV_I16: ((int16_t *)samples)[at] = (int16_t)(value - 100); break;
    case CV_U16: ((uint16_t *)samples)[at] = (uint16_t)(value * 200); break;
    case CV_F32: ((float *)samples)[at] = (float)value; break;
    default: ((double *)samples)[at] = value;
    }
}

static const int item[] = {1, 2, 2, 4, 8};

/* Which sample stands at a padded position: zeros, replicate or circular. */
static int border(int position, int n, int mode)
{
    if (position >= 0 && position < n) return position;
    return mode == 0 ? -1 : mode == 1 ? (position < 0 ? 0 : n - 1) : ((position % n) + n) % n;
}

static int failed;
static uint64_t sum;

static void check(int wrong, const char *what, const cv_job *job)
{
    if (!wrong) return;
    failed = 1;
    printf("%s is wrong: %dx%d planes %d maps %d stride %dx%d dilation %dx%d lanes %d width %d\n", what, job->kernel_h,
           job->kernel_w, job->n_in, job->n_out, job->stride_h, job->stride_w, job->dilation_h, job->dilation_w,
           job->lanes, job->out_w);
}

static void one_case(int broken)
{
    const int type = upto(5), lanes = upto(3) ? 1 : 1 + upto(4), mode = upto(3);
    cv_job job = {.n_in = lanes > 1 ? 1 : 1 + upto(3), .n_out = 1 + upto(6), .kernel_h = 1 + upto(11),
                  .kernel_w = 1 + upto(11), .stride_h = 1 + upto(4), .stride_w = 1 + upto(4), .dilation_h = 1 + upto(3),
                  .dilation_w = 1 + upto(3), .lanes = lanes, .out_w = upto(4) ? 1 + upto(90) : 1 + upto(700)};
    const int n_rows = 1 + upto(9), height = 1 + upto(30), width = upto(2) ? 1 + upto(60) : job.out_w * job.stride_w;
    const int padded_h = (n_rows - 1) * job.stride_h + (job.kernel_h - 1) * job.dilation_h + 1;
    const int padded_w = (job.out_w - 1) * job.stride_w + (job.kernel_w - 1) * job.dilation_w + 1;
    const int top = upto(8), left = upto(8), n_taps = job.n_out * job.n_in * job.kernel_h * job.kernel_w;
    const size_t n_samples = (size_t)job.n_in * height * width * lanes, row = (size_t)job.out_w * lanes;
    void *samples = malloc(n_samples * item[type]);
    for (size_t i = 0; i < n_samples; i++) set(samples, type, i, upto(200));
    int32_t *rows = malloc(4 * padded_h), *columns = malloc(4 * padded_w);
    for (int i = 0; i < padded_h; i++) rows[i] = border(i - top, height, mode);
    for (int i = 0; i < padded_w; i++) columns[i] = border(i - left, width, mode);
    if (broken) rows[padded_h - 1] = height;
    float *taps = malloc(4 * n_taps), *bias = malloc(4 * job.n_out), *maps = malloc(4 * job.n_out * n_rows * row);
    double *wide_taps = malloc(8 * n_taps), *wide = malloc(8 * job.n_out * n_rows * row);
    for (int i = 0; i < n_taps; i++) wide_taps[i] = taps[i] = (float)(upto(7) - 3);
    for (int i = 0; i < job.n_out; i++) bias[i] = (float)upto(9);
    cv_source source = {samples, (int64_t)height * width * lanes * item[type], (int64_t)width * lanes * item[type],
                        lanes * item[type], rows, columns, padded_w, type, 7};
    void *scratch = malloc(cv_conv_bytes(&job, 0)), *wide_scratch = malloc(cv_conv_bytes(&job, 1));
    cv_conv_f32(&job, &source, taps, bias, n_rows, maps, 4 * n_rows * row, 4 * row, scratch);
    cv_conv_f64(&job, &source, wide_taps, 0, n_rows, wide, 8 * n_rows * row, 8 * row, wide_scratch);
    for (int m = 0; m < job.n_out; m++)
        for (int y = 0; y < n_rows; y++)
            for (size_t x = 0; x < row; x++) {
                double expected = 0, size = 1;
                for (int p = 0; p < job.n_in; p++)
                    for (int r = 0; r < job.kernel_h; r++)
                        for (int c = 0; c < job.kernel_w; c++) {
                            const int at = rows[y * job.stride_h + r * job.dilation_h];
                            const int across = columns[(int)x / lanes * job.stride_w + c * job.dilation_w];
                            const double tap = taps[((m * job.n_in + p) * job.kernel_h + r) * job.kernel_w + c];
                            const size_t place = (((size_t)p * height + at) * width + across) * lanes + x % lanes;
                            const double value = at < 0 || across < 0 ? 7 : sample(samples, type, place);
                            expected += tap * value, size += fabs(tap * value);
                        }
                const size_t at = ((size_t)m * n_rows + y) * row + x;
                check(fabs(wide[at] - expected) > 1e-13 * size, "a sum in double", &job);
                check(fabs(maps[at] - (expected + bias[m])) > 1e-6 * size, "a sum in float", &job);
            }
    if (job.n_out <= 2 && lanes <= CV_MOST_LANES) {
        uint8_t *bytes = malloc(n_rows * row);
        cv_tone tones[CV_MOST_LANES];
        for (int l = 0; l < lanes; l++) tones[l] = (cv_tone){.gain = 0.0625f, .offset = (float)(l + 3), .absolute = l % 2};
        void *room = malloc(cv_picture_bytes(&job));
        cv_picture_u8(&job, &source, taps, bias, job.n_out == 2 ? CV_MAGNITUDE : CV_ALONE, n_rows, tones, bytes, row, room);
        long high = 0, counted = 0;
        for (size_t i = 0; i < n_rows * row; i++) {
            volatile float value = maps[i], other = job.n_out == 2 ? maps[n_rows * row + i] : 0;
            if (job.n_out == 2) {
                volatile float a = value * value, b = other * other;
                value = sqrtf(a + b);
            }
            if (i % lanes % 2) value = fabsf(value);
            value = value * 0.0625f;
            value = value + (float)(i % lanes + 3);
            const float stored = rintf(value);
            high += stored > 255;
            check(bytes[i] != (uint8_t)(stored < 0 ? 0 : stored > 255 ? 255 : stored), "a byte", &job);
            sum = sum * 31 + bytes[i];
        }
        for (int l = 0; l < lanes; l++) counted += tones[l].n_high;
        check(high != counted, "a count", &job);
        free(bytes), free(room);
    }
    free(samples), free(rows), free(columns), free(taps), free(bias), free(maps), free(wide_taps), free(wide);
    free(scratch), free(wide_scratch);
}

int main(int argc, char **argv)
{
    const int broken = argc > 1 && !strcmp(argv[1], "break"), n = broken || argc < 2 ? 20 : atoi(argv[1]);
    for (int level = 0; level <= cv_best_level(); level++) {
        cv_use_level(level);
        state = 1, sum = 0;
        for (int k = 0; k < n; k++) one_case(broken);
        printf("%s: %d cases\n", cv_level_name(level), n);
    }
    printf("bytes %016llx\n", (unsigned long long)sum);
    return failed;
}
