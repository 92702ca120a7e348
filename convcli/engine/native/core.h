/* The compiled core of convcli: the whole contract.
 *
 * Plain C with gcc's and clang's vector extensions; no Python, no allocation, no threads, no state but the choice of an
 * instruction set, so every function may run on several threads at once. Sizes are in samples, steps in bytes. */
#ifndef CONVCLI_CORE_H
#define CONVCLI_CORE_H

#include <stddef.h>
#include <stdint.h>

#define CV_MOST_KERNEL_W 4096 /* taps in a row of a kernel */
#define CV_MOST_LANES 4       /* planes of an interleaved picture that is stored as bytes */

enum cv_type { CV_U8, CV_I16, CV_U16, CV_F32, CV_F64 };

/* One group of planes and all its kernels. `lanes` planes may lie side by side in a row; each then gets every kernel,
 * and n_in is 1. */
typedef struct {
    int32_t n_in, n_out;
    int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t lanes;
    int32_t out_w; /* outputs in a row, of one lane */
} cv_job;

/* An image seen through its border: `rows` and `columns` say which row or column of the image stands at each padded
 * one, from the first output's first tap on; -1 is the constant. Nothing is padded or converted beforehand. */
typedef struct {
    const void *samples;
    int64_t plane_step, row_step, pixel_step;
    const int32_t *rows, *columns;
    int32_t n_columns; /* (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1 */
    int32_t type;      /* cv_type */
    double constant;
} cv_source;

/* How values become bytes, round(gain * v + offset) or the same of |v|, and their statistics. */
typedef struct {
    float gain, offset;
    int32_t absolute;
    float least, most;
    double total, squares; /* squares: of the differences from `shift`, a value among them */
    float shift;
    int64_t n_low, n_high, n_nan;
} cv_tone;

enum cv_combine { CV_ALONE, CV_MAGNITUDE };

/* Working memory of one call of cv_conv_*; cv_picture_u8 takes cv_picture_bytes. */
size_t cv_conv_bytes(const cv_job *job, int32_t is_double);
size_t cv_picture_bytes(const cv_job *job);

/* Correlate. out: (n_out, n_rows, out_w, lanes), a row's values side by side. taps: (n_out, n_in, kernel_h, kernel_w).
 * bias: one a map, or NULL. */
void cv_conv_f32(const cv_job *job, const cv_source *source, const float *taps, const float *bias, int64_t n_rows,
                 float *out, int64_t map_step, int64_t row_step, void *scratch);
void cv_conv_f64(const cv_job *job, const cv_source *source, const double *taps, const double *bias, int64_t n_rows,
                 double *out, int64_t map_step, int64_t row_step, void *scratch);

/* out = sqrt(first² + second²), each operation rounded to float. */
void cv_magnitude_f32(const float *first, const float *second, float *out, int64_t n);

/* Store maps (n_maps, n_rows, n) as bytes, map m of a pixel at out[m]; 1 to CV_MOST_LANES maps, a tone each. */
void cv_store_u8(const float *maps, int64_t map_step, int64_t row_step, int32_t n_maps, int64_t n_rows, int64_t n,
                 cv_tone *tones, uint8_t *out, int64_t out_step);

/* Correlate, combine and store, a few rows at a time in the cache: samples in, bytes out, one tone a lane. n_out is 1,
 * or 2 for CV_MAGNITUDE. */
void cv_picture_u8(const cv_job *job, const cv_source *source, const float *taps, const float *bias,
                   enum cv_combine combine, int64_t n_rows, cv_tone *tones, uint8_t *out, int64_t out_step,
                   void *scratch);

/* Instruction sets: 0 is the baseline (SSE2, NEON), 1 AVX2 with FMA, 2 AVX-512. */
int32_t cv_best_level(void);               /* that this processor has */
int32_t cv_use_level(int32_t level);       /* at most the best; returns what is used from now on */
const char *cv_level_name(int32_t level);
#endif
