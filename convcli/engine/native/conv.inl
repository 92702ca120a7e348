/* One convolution, in terms of REAL (float, double) and REAL_TYPE, W (numbers in a vector), N_ROWS times N_VECTORS
 * (vectors of sums kept in registers) and NAME. Included once for each instruction set and type. */
typedef REAL NAME(vec) __attribute__((vector_size(W * sizeof(REAL))));
typedef REAL NAME(loose) __attribute__((vector_size(W * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

/* Copy a run of samples `step` apart into neighbouring numbers. Steps known when compiled become shuffles. */
#define COPY(TYPE)                                                                                                     \
    static void NAME(copy_##TYPE)(const TYPE *from, int64_t step, int64_t n, REAL *restrict to)                        \
    {                                                                                                                  \
        if (step == 1)                                                                                                 \
            for (int64_t k = 0; k < n; k++) to[k] = (REAL)from[k];                                                     \
        else if (step == 2)                                                                                            \
            for (int64_t k = 0; k < n; k++) to[k] = (REAL)from[2 * k];                                                 \
        else if (step == 3)                                                                                            \
            for (int64_t k = 0; k < n; k++) to[k] = (REAL)from[3 * k];                                                 \
        else if (step == 4)                                                                                            \
            for (int64_t k = 0; k < n; k++) to[k] = (REAL)from[4 * k];                                                 \
        else                                                                                                           \
            for (int64_t k = 0; k < n; k++) to[k] = (REAL)from[step * k];                                              \
    }                                                                                                                  \
                                                                                                                       \
    /* Copy three of four samples of each pixel: RGB as decoders leave it, or beside an alpha. */                      \
    static void NAME(copy3_##TYPE)(const TYPE *from, int64_t n, REAL *restrict to)                                     \
    {                                                                                                                  \
        for (int64_t k = 0; k < n; k++)                                                                                \
            to[3 * k] = (REAL)from[4 * k], to[3 * k + 1] = (REAL)from[4 * k + 1], to[3 * k + 2] = (REAL)from[4 * k + 2];\
    }                                                                                                                  \
                                                                                                                       \
    /* Write padded columns `first` to `last` (exclusive) of one row into a line. */                                   \
    static void NAME(gather_##TYPE)(const cv_job *job, const cv_source *source, const layout *at, const char *row,     \
                                    int32_t first, int32_t last, REAL *line)                                           \
    {                                                                                                                  \
        const int32_t lanes = job->lanes, stride = job->stride_w, *columns = source->columns;                          \
        const int64_t pixel = source->pixel_step / (int64_t)sizeof(TYPE);                                              \
        const int32_t parts = (int32_t)(at->line / at->part);                                                          \
        for (int32_t part = 0; part < parts; part++, line += at->part) {                                               \
            int32_t i = first > part ? (first - part + stride - 1) / stride : 0, c = part + i * stride;                \
            for (; c < last; c += stride, i++) {                                                                       \
                const TYPE *from = (const TYPE *)row + columns[c] * pixel;                                             \
                REAL *to = line + (ptrdiff_t)i * lanes;                                                                \
                if (c >= at->low && c < at->high) {                                                                    \
                    const int32_t end = last < at->high ? last : at->high, count = (end - c + stride - 1) / stride;    \
                    if (pixel == lanes && stride == 1) NAME(copy_##TYPE)(from, 1, (int64_t)count * lanes, to);         \
                    else if (lanes == 1) NAME(copy_##TYPE)(from, stride * pixel, count, to);                           \
                    else if (lanes == 3 && pixel == 4 && stride == 1) NAME(copy3_##TYPE)(from, count, to);             \
                    else                                                                                               \
                        for (int64_t k = 0; k < count; k++)                                                            \
                            for (int32_t l = 0; l < lanes; l++) to[k * lanes + l] = (REAL)from[k * stride * pixel + l];\
                    c += (count - 1) * stride, i += count - 1;                                                         \
                } else                                                                                                 \
                    for (int32_t l = 0; l < lanes; l++) to[l] = columns[c] < 0 ? (REAL)source->constant : (REAL)from[l];\
            }                                                                                                          \
        }                                                                                                              \
    }
COPY(uint8_t)
COPY(int16_t)
COPY(uint16_t)
COPY(float)
COPY(double)
#undef COPY

static void NAME(gather)(const cv_job *job, const cv_source *source, const layout *at, const char *row, int32_t first,
                         int32_t last, REAL *line)
{
    switch (source->type) {
    case CV_U8: NAME(gather_uint8_t)(job, source, at, row, first, last, line); break;
    case CV_I16: NAME(gather_int16_t)(job, source, at, row, first, last, line); break;
    case CV_U16: NAME(gather_uint16_t)(job, source, at, row, first, last, line); break;
    case CV_F32: NAME(gather_float)(job, source, at, row, first, last, line); break;
    default: NAME(gather_double)(job, source, at, row, first, last, line);
    }
}

/* Add one line's share to output rows `low` to `high`; these are known when compiled. `taps` are those of row `low`,
 * and each further row uses the ones `back` before. */
static inline __attribute__((always_inline)) void NAME(line)(NAME(vec) sums[N_ROWS][N_VECTORS], const REAL *line,
    const int32_t *places, int32_t n_taps, const REAL *taps, ptrdiff_t back, const int low, const int high,
    const int vectors)
{
    for (int32_t k = 0; k < n_taps; k++) {
        const REAL *from = line + places[k];
        NAME(vec) samples[N_VECTORS];
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) samples[v] = *(const NAME(loose) *)(from + v * W);
#pragma GCC unroll 16
        for (int r = low; r <= high; r++) {
            const REAL tap = taps[k - r * back];
#pragma GCC unroll 16
            for (int v = 0; v < vectors; v++) sums[r][v] += samples[v] * tap;
        }
    }
}

/* Some output rows, `out_step` apart, and the lines that they read: line l of plane p is lines[p * n_lines + l], and
 * belongs to the rows that ranges[l] names. */
typedef struct {
    const cv_job *job;
    const layout *at;
    const REAL *const *lines;
    const uint8_t *ranges;
    int32_t n_lines, n_rows;
    ptrdiff_t out_step;
} NAME(rows);

static inline __attribute__((always_inline)) void NAME(put)(const NAME(vec) *sums, REAL *to, int32_t n, const int vectors)
{
    REAL rest[N_VECTORS * W];
    REAL *into = n == vectors * W ? to : rest;
#pragma GCC unroll 16
    for (int v = 0; v < vectors; v++) *(NAME(loose) *)(into + v * W) = sums[v];
    if (into == rest) memcpy(to, rest, n * sizeof(REAL));
}

/* Make n columns of all rows of one map, at most `vectors` * W. */
static inline __attribute__((always_inline)) void NAME(tile_rows)(const NAME(rows) *of, ptrdiff_t column,
    const REAL *taps, REAL bias, REAL *out, int32_t n, const int vectors)
{
    NAME(vec) sums[N_ROWS][N_VECTORS];
    const cv_job *job = of->job;
    const int32_t width = job->kernel_w, *places = of->at->places, n_lines = of->n_lines;
    const ptrdiff_t back = (ptrdiff_t)of->at->pace * width;
    const REAL *const *lines = of->lines;
#pragma GCC unroll 16
    for (int r = 0; r < N_ROWS; r++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) sums[r][v] = (NAME(vec)){0} + bias;
    for (int32_t plane = 0; plane < job->n_in; plane++, taps += job->kernel_h * width) {
        for (int32_t l = 0; l < n_lines; l++) {
            const REAL *line = *lines++ + column, *t = taps + (ptrdiff_t)l * width;
#define CASE(LOW, HIGH) case LOW * 4 + HIGH: NAME(line)(sums, line, places, width, t, back, LOW, HIGH, vectors); break;
            switch (of->ranges[l]) {
            CASE(0, 0) CASE(0, 1) CASE(1, 1) CASE(0, 2) CASE(1, 2) CASE(2, 2) CASE(0, 3) CASE(1, 3) CASE(2, 3) CASE(3, 3)
            }
#undef CASE
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < N_ROWS; r++)
        if (r < of->n_rows) NAME(put)(sums[r], (REAL *)((char *)out + r * of->out_step), n, vectors);
}

/* Make n columns of one row, whose window begins at line `first`, of N_ROWS maps: a sample then meets as many taps in
 * every line. Taps of a map lie `apart` numbers after those of the one before. */
static inline __attribute__((always_inline)) void NAME(tile_maps)(const NAME(rows) *of, int32_t first, ptrdiff_t column,
    const REAL *taps, ptrdiff_t apart, const REAL *biases, REAL *out, int64_t map_step, int32_t n, const int vectors)
{
    NAME(vec) sums[N_ROWS][N_VECTORS];
    const cv_job *job = of->job;
    const int32_t width = job->kernel_w, *places = of->at->places;
#pragma GCC unroll 16
    for (int m = 0; m < N_ROWS; m++)
#pragma GCC unroll 16
        for (int v = 0; v < vectors; v++) sums[m][v] = (NAME(vec)){0} + (biases ? biases[m] : 0);
    for (int32_t plane = 0; plane < job->n_in; plane++) {
        const REAL *const *lines = of->lines + (ptrdiff_t)plane * of->n_lines + first;
        for (int32_t l = 0; l < job->kernel_h; l++, taps += width) {
            const REAL *line = lines[l] + column;
            for (int32_t k = 0; k < width; k++) {
                NAME(vec) samples[N_VECTORS];
#pragma GCC unroll 16
                for (int v = 0; v < vectors; v++) samples[v] = *(const NAME(loose) *)(line + places[k] + v * W);
#pragma GCC unroll 16
                for (int m = 0; m < N_ROWS; m++)
#pragma GCC unroll 16
                    for (int v = 0; v < vectors; v++) sums[m][v] += samples[v] * taps[m * apart + k];
            }
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < N_ROWS; m++) NAME(put)(sums[m], (REAL *)((char *)out + m * map_step), n, vectors);
}

/* Wide tiles for most of a row, and narrow ones for what is left: functions of their own, compiled apart. */
#define TILES(SIZE, VECTORS)                                                                                           \
    static __attribute__((noinline)) void NAME(SIZE##_rows)(const NAME(rows) *of, ptrdiff_t column, const REAL *taps,  \
        REAL bias, REAL *out, int32_t n)                                                                               \
    {                                                                                                                  \
        NAME(tile_rows)(of, column, taps, bias, out, n, VECTORS);                                                      \
    }                                                                                                                  \
    static __attribute__((noinline)) void NAME(SIZE##_maps)(const NAME(rows) *of, int32_t first, ptrdiff_t column,     \
        const REAL *taps, ptrdiff_t apart, const REAL *biases, REAL *out, int64_t map_step, int32_t n)                 \
    {                                                                                                                  \
        NAME(tile_maps)(of, first, column, taps, apart, biases, out, map_step, n, VECTORS);                            \
    }
TILES(wide, N_VECTORS)
TILES(narrow, N_NARROW)
#undef TILES

/* Make columns c0 to c1 of some rows of all maps; out is column 0 of the first map's first row. */
static void NAME(make)(const NAME(rows) *of, int32_t c0, int32_t c1, const REAL *taps, const REAL *bias, REAL *out,
    int64_t map_step)
{
    const cv_job *job = of->job;
    const int32_t wide = N_VECTORS * W, narrow = N_NARROW * W;
    const ptrdiff_t size = (ptrdiff_t)job->n_in * job->kernel_h * job->kernel_w;
    const int by_maps = job->n_out >= N_ROWS && (job->n_in > 1 || job->kernel_h == 1 || of->at->rows == 1);
    if (!by_maps) {
        for (int32_t m = 0; m < job->n_out; m++, taps += size, out = (REAL *)((char *)out + map_step)) {
            const REAL shift = bias ? bias[m] : 0;
            int32_t c = c0;
            for (; c + wide <= c1; c += wide) NAME(wide_rows)(of, c, taps, shift, out + c, wide);
            for (; c < c1; c += narrow) NAME(narrow_rows)(of, c, taps, shift, out + c, c1 - c < narrow ? c1 - c : narrow);
        }
        return;
    }
    for (int32_t r = 0; r < of->n_rows; r++)
        for (int32_t next = 0; next < job->n_out; next += N_ROWS) {
            const int32_t m = next + N_ROWS <= job->n_out ? next : job->n_out - N_ROWS; /* some are made twice */
            const int32_t first = r * of->at->pace;
            const REAL *t = taps + m * size, *biases = bias ? bias + m : 0;
            REAL *to = (REAL *)((char *)out + r * of->out_step + m * map_step);
            int32_t c = c0;
            for (; c + wide <= c1; c += wide) NAME(wide_maps)(of, first, c, t, size, biases, to + c, map_step, wide);
            for (; c < c1; c += narrow)
                NAME(narrow_maps)(of, first, c, t, size, biases, to + c, map_step, c1 - c < narrow ? c1 - c : narrow);
        }
}

/* Outputs from column `low` to `high`, lanes side by side, read the image itself: their windows lie inside it, its numbers
 * are of this type and side by side, and its rows do not fall into one set of the cache. The other outputs read lines,
 * gathered only up to column `left` and from `right` on. */
typedef struct { int32_t low, high, left, right; } NAME(inside);

static NAME(inside) NAME(find_inside)(const cv_job *job, const cv_source *source, const layout *at)
{
    const int32_t lanes = job->lanes, wide = N_VECTORS * W, reach = (job->kernel_w - 1) * job->dilation_w * lanes;
    const int32_t low = (at->low * lanes + W - 1) / W * W; /* stores are aligned where the output is */
    const int32_t most = (at->high * lanes - reach - low) / wide * wide;
    const int64_t odd = source->row_step & 1023;
    NAME(inside) in = {0, 0, source->n_columns, source->n_columns};
    if (source->type != REAL_TYPE || source->pixel_step != (int64_t)sizeof(REAL) * lanes || job->stride_w > 1 ||
        most < 4 * wide || (job->kernel_h > 2 && (odd < 64 || odd > 960)))
        return in;
    in.low = low, in.high = low + most;
    in.left = low ? (low + wide + reach) / lanes + 1 : 0;
    in.right = in.high / lanes;
    if (in.left > source->n_columns) in.left = source->n_columns;
    return in;
}

/* Gather padded row y of every plane into its line of the ring. */
static void NAME(gather_row)(const cv_job *job, const cv_source *source, const layout *at, const NAME(inside) *in,
    int64_t y, REAL *ring)
{
    const int32_t row = source->rows[y];
    for (int32_t p = 0; p < job->n_in; p++) {
        REAL *line = ring + ((ptrdiff_t)p * at->ring + y % at->ring) * at->line;
        if (row < 0) {
            for (ptrdiff_t i = 0; i < at->line; i++) line[i] = (REAL)source->constant;
            continue;
        }
        const char *from = (const char *)source->samples + p * source->plane_step + row * source->row_step;
        NAME(gather)(job, source, at, from, 0, in->left, line);
        if (in->high) NAME(gather)(job, source, at, from, in->right, source->n_columns, line);
    }
}

/* Make output rows `begin` to `begin + n_rows`; padded rows below `*gathered` are in the ring already. */
static void NAME(conv)(const cv_job *job, const cv_source *source, const REAL *taps, const REAL *bias, int64_t begin,
    int64_t n_rows, int64_t *gathered, REAL *out, int64_t map_step, int64_t row_step, void *scratch)
{
    layout at[1];
    lay_out(job, source, at, sizeof(REAL));
    const NAME(inside) in = NAME(find_inside)(job, source, at);
    const int32_t block = at->rows * at->gap, n = job->out_w * job->lanes, wide = N_VECTORS * W;
    const REAL **lines = scratch, **lines_in_place = lines + (size_t)job->n_in * at->most_lines;
    uint8_t *ranges = (uint8_t *)(lines_in_place + (size_t)job->n_in * at->most_lines);
    REAL *ring = (REAL *)(((uintptr_t)scratch + at->table_bytes + 63) & ~(uintptr_t)63);
    /* So many columns of all lines stay in the first-level cache while all maps are made from them. */
    int32_t chunk = job->n_out == 1 ? n : 12288 / (int32_t)sizeof(REAL) / (job->n_in * at->most_lines) / wide * wide;
    if (chunk < wide) chunk = wide;
    for (int64_t top = begin; top < begin + n_rows; top += block) {
        const int64_t left = begin + n_rows - top, rows = left < block ? left : block;
        const int64_t end = (top + rows - 1) * job->stride_h + (int64_t)(job->kernel_h - 1) * job->dilation_h + 1;
        if (*gathered < top * job->stride_h) *gathered = top * job->stride_h;
        for (; *gathered < end; ++*gathered) NAME(gather_row)(job, source, at, &in, *gathered, ring);
        for (int32_t q = 0; q < at->gap && q < rows; q++) { /* output rows of one residue share their lines */
            const int32_t made = (int32_t)((rows - q + at->gap - 1) / at->gap);
            const int32_t n_lines = (made - 1) * at->pace + job->kernel_h;
            for (int32_t l = 0; l < n_lines; l++) {
                const int64_t y = (top + q) * job->stride_h + (int64_t)l * job->dilation_h;
                const int32_t low = l < job->kernel_h ? 0 : (l - job->kernel_h) / at->pace + 1, last = l / at->pace;
                const int32_t high = last < made ? last : made - 1, row = source->rows[y];
                ranges[l] = (uint8_t)(low <= high ? low * 4 + high : 255); /* 255: between two windows */
                for (int32_t p = 0; p < job->n_in; p++) {
                    const int32_t place = p * n_lines + l;
                    lines[place] = lines_in_place[place] = ring + ((ptrdiff_t)p * at->ring + y % at->ring) * at->line;
                    if (in.high && row >= 0)
                        lines_in_place[place] = (const REAL *)((const char *)source->samples + p * source->plane_step +
                            row * source->row_step + (source->columns[at->low] - at->low) * source->pixel_step);
                }
            }
            NAME(rows) of = {job, at, lines, ranges, n_lines, made, row_step * at->gap};
            REAL *to = (REAL *)((char *)out + (top - begin + q) * row_step);
            for (int32_t c0 = 0, c1; c0 < n; c0 = c1) {
                const int inside = c0 >= in.low && c0 < in.high;
                const int32_t most = c0 < in.low ? in.low : inside ? in.high : n;
                c1 = most - c0 < chunk ? most : c0 + chunk;
                of.lines = inside ? lines_in_place : lines;
                NAME(make)(&of, c0, c1, taps, bias, to, map_step);
            }
        }
    }
}
