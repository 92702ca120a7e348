/* From values to bytes, in terms of BYTES of a vector and NAME. Every operation is the one that NumPy makes, in float
 * and in the same order, so that the bytes are the same. Included once for each instruction set. */
#define N (BYTES / 4)
typedef float NAME(vf) __attribute__((vector_size(BYTES)));
typedef float NAME(lf) __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t NAME(vi) __attribute__((vector_size(BYTES)));
typedef double NAME(vd) __attribute__((vector_size(BYTES)));
typedef float NAME(hf) __attribute__((vector_size(BYTES / 2)));

/* Round a product to float before it is added to: no fused multiply-add here. */
#if defined(__x86_64__)
#define ROUNDED(X) __asm__("" : "+x"(X))
#elif defined(__aarch64__)
#define ROUNDED(X) __asm__("" : "+w"(X))
#else
#define ROUNDED(X) __asm__("" : "+m"(X))
#endif
/* The lesser and the greater; B where either is not a number. */
#define PICK(MASK, A, B) ((NAME(vf))(((NAME(vi))(A) & (MASK)) | ((NAME(vi))(B) & ~(MASK))))
#if defined(__x86_64__) && BYTES == 64 && !defined(__clang__)
#define LEAST(A, B) ((NAME(vf))__builtin_ia32_minps512_mask(A, B, A, -1, 4))
#define MOST(A, B) ((NAME(vf))__builtin_ia32_maxps512_mask(A, B, A, -1, 4))
#elif defined(__x86_64__) && BYTES == 32
#define LEAST(A, B) __builtin_ia32_minps256(A, B)
#define MOST(A, B) __builtin_ia32_maxps256(A, B)
#elif defined(__x86_64__) && BYTES == 16
#define LEAST(A, B) __builtin_ia32_minps(A, B)
#define MOST(A, B) __builtin_ia32_maxps(A, B)
#else
#define LEAST(A, B) PICK((A) < (B), A, B)
#define MOST(A, B) PICK((A) > (B), A, B)
#endif

static void NAME(magnitude)(const float *first, const float *second, float *out, int64_t n)
{
    int64_t i = 0;
    for (; i + N <= n; i += N) {
        NAME(vf) a = *(const NAME(lf) *)(first + i), b = *(const NAME(lf) *)(second + i);
        a *= a, b *= b;
        ROUNDED(a);
        ROUNDED(b);
        a += b;
        for (int k = 0; k < N; k++) a[k] = __builtin_sqrtf(a[k]);
        *(NAME(lf) *)(out + i) = a;
    }
    for (; i < n; i++) {
        float a = first[i] * first[i], b = second[i] * second[i];
        ROUNDED(a);
        ROUNDED(b);
        out[i] = __builtin_sqrtf(a + b);
    }
}

/* Statistics of a row so far. It is read in turns of N * lanes values, so that every vector of a turn meets the same
 * planes in the same places. `total` and `other` are of the first and the second half of each vector, as are the sums of squared differences
 * `square` and `other_square` from `shift` and `other_shift`. */
typedef struct {
    NAME(vf) least, most, gain, offset;
    NAME(vi) mask, low, high, nan; /* mask: the bits of v that |v| keeps */
    NAME(vd) total, other, square, other_square, shift, other_shift;
} NAME(part);

/* Tone and count one vector; `counted` is all ones where a value counts. The low bytes of `to` are the result. */
static inline __attribute__((always_inline)) void NAME(tone)(NAME(part) *at, const float *from, int32_t *to,
    const NAME(vi) counted)
{
    const NAME(vf) zero = {0}, full = zero + 255.0f, half = zero - 0.5f, beyond = zero + 255.5f;
    NAME(vf) x = *(const NAME(lf) *)from, summed = (NAME(vf))((NAME(vi))x & counted);
    NAME(hf) halves[2];
    at->least = LEAST(x, at->least), at->most = MOST(x, at->most);
    memcpy(halves, &summed, sizeof summed);
    at->total += __builtin_convertvector(halves[0], NAME(vd));
    at->other += __builtin_convertvector(halves[1], NAME(vd));
    /* Values that do not count are equal to the shift. */
    memcpy(halves, &x, sizeof x);
    const NAME(vd) one = __builtin_convertvector(halves[0], NAME(vd)) - at->shift,
                   two = __builtin_convertvector(halves[1], NAME(vd)) - at->other_shift;
    at->square += one * one, at->other_square += two * two;
    at->nan -= (x != x) & counted;
    x = (NAME(vf))((NAME(vi))x & at->mask) * at->gain;
    ROUNDED(x);
    x += at->offset;
    at->low -= (x < half) & counted, at->high -= (x >= beyond) & counted;
    /* 1.5 * 2^23 has a last digit of 1: adding it rounds half to even, and the low byte is the number. */
    x = LEAST(MOST(x, zero), full) + 12582912.0f;
    *(NAME(lf) *)to = x;
}

/* Store n values, `lanes` planes side by side with a tone each. */
static inline __attribute__((always_inline)) void NAME(store_lanes)(const float *values, int64_t n, const int lanes,
    cv_tone *tones, uint8_t *out)
{
    NAME(part) parts[4], first[4], last[4]; /* `parts` is never indexed by a variable, so it stays in registers */
    for (int p = 0; p < lanes; p++)
        for (int k = 0; k < N; k++) {
            const cv_tone *tone = tones + (p * N + k) % lanes;
            first[p].least[k] = tone->least, first[p].most[k] = tone->most;
            first[p].gain[k] = tone->gain, first[p].offset[k] = tone->offset;
            first[p].mask[k] = tone->absolute ? 0x7fffffff : -1;
            first[p].low[k] = first[p].high[k] = first[p].nan[k] = 0;
            if (k < N / 2) {
                first[p].total[k] = first[p].other[k] = first[p].square[k] = first[p].other_square[k] = 0;
                first[p].shift[k] = tone->shift;
            } else
                first[p].other_shift[k - N / 2] = tone->shift;
        }
#pragma GCC unroll 4
    for (int p = 0; p < lanes; p++) parts[p] = first[p];
    const NAME(vi) all = (NAME(vi)){0} - 1;
    /* A loop of its own makes bytes of some numbers: compilers know how to narrow a row, but not one vector. */
    int32_t numbers[3072];
    for (int64_t i = 0; i < n;) {
        const int64_t count = n - i < 3072 ? n - i : 3072;
        int64_t k = 0;
        for (; k + N * lanes <= count; k += N * lanes) {
#pragma GCC unroll 4
            for (int p = 0; p < lanes; p++) NAME(tone)(parts + p, values + i + k + p * N, numbers + k + p * N, all);
        }
        if (k < count) { /* the rest, filled up with a value of the same planes, which changes no extreme or count */
            float rest[4 * N];
            int32_t made[4 * N], counts[4 * N];
            for (int j = 0; j < N * lanes; j++) {
                rest[j] = k + j < count ? values[i + k + j] : tones[j % lanes].shift;
                counts[j] = k + j < count ? -1 : 0;
            }
#pragma GCC unroll 4
            for (int p = 0; p < lanes; p++) {
                NAME(vi) counted;
                memcpy(&counted, counts + p * N, sizeof counted);
                NAME(tone)(parts + p, rest + p * N, made + p * N, counted);
            }
            memcpy(numbers + k, made, (count - k) * sizeof *made);
        }
        for (k = 0; k < count; k++) out[i + k] = (uint8_t)numbers[k];
        i += count;
    }
#pragma GCC unroll 4
    for (int p = 0; p < lanes; p++) last[p] = parts[p];
    for (int p = 0; p < lanes; p++)
        for (int k = 0; k < N; k++) {
            cv_tone *tone = tones + (p * N + k) % lanes;
            if (last[p].least[k] < tone->least) tone->least = last[p].least[k];
            if (last[p].most[k] > tone->most) tone->most = last[p].most[k];
            tone->total += k < N / 2 ? last[p].total[k] : last[p].other[k - N / 2];
            tone->squares += k < N / 2 ? last[p].square[k] : last[p].other_square[k - N / 2];
            tone->n_low += last[p].low[k], tone->n_high += last[p].high[k], tone->n_nan += last[p].nan[k];
        }
}

static void NAME(store)(const float *values, int64_t n, int lanes, cv_tone *tones, uint8_t *out)
{
    /* Differences from a value of the map keep the digits of a small deviation from a large mean. */
    for (int p = 0; p < lanes && p < n; p++)
        if (tones[p].shift != tones[p].shift) tones[p].shift = values[p];
    switch (lanes) {
    case 1: NAME(store_lanes)(values, n, 1, tones, out); break;
    case 2: NAME(store_lanes)(values, n, 2, tones, out); break;
    case 3: NAME(store_lanes)(values, n, 3, tones, out); break;
    default: NAME(store_lanes)(values, n, 4, tones, out);
    }
}

static void NAME(interleave)(uint8_t planes[CV_MOST_LANES][1024], int n_maps, int64_t n, uint8_t *restrict out)
{
    const uint8_t *a = planes[0], *b = planes[1], *c = planes[2], *d = planes[3];
    if (n_maps == 2)
        for (int64_t i = 0; i < n; i++) out[2 * i] = a[i], out[2 * i + 1] = b[i];
    else if (n_maps == 3)
        for (int64_t i = 0; i < n; i++) out[3 * i] = a[i], out[3 * i + 1] = b[i], out[3 * i + 2] = c[i];
    else
        for (int64_t i = 0; i < n; i++)
            out[4 * i] = a[i], out[4 * i + 1] = b[i], out[4 * i + 2] = c[i], out[4 * i + 3] = d[i];
}
#undef N
#undef PICK
#undef LEAST
#undef MOST
#undef ROUNDED
