/* From values to bytes, in terms of BYTES of a vector and NAME. Every operation is the one that NumPy makes, in float
 * and in the same order, so that the bytes are the same. Included once for each instruction set. */
#define N (BYTES / 4)
typedef float NAME(vf) __attribute__((vector_size(BYTES)));
typedef float NAME(lf) __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t NAME(vi) __attribute__((vector_size(BYTES)));
typedef double NAME(vd) __attribute__((vector_size(BYTES)));
typedef float NAME(hf) __attribute__((vector_size(BYTES / 2)));
typedef uint8_t NAME(vb) __attribute__((vector_size(N)));
typedef uint8_t NAME(lb) __attribute__((vector_size(N), aligned(1), may_alias));

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

/* Store n values, `lanes` planes side by side with a tone each. N * lanes values make a turn: every vector of a turn
 * then meets the same planes in the same places. */
static inline __attribute__((always_inline)) void NAME(store_lanes)(const float *values, int64_t n, const int lanes,
    cv_tone *tones, uint8_t *out)
{
    NAME(vf) least[4], most[4], gain[4], offset[4];
    NAME(vd) total[4] = {0}, other[4] = {0}; /* of the first and the second half of each vector */
    NAME(vi) low[4] = {0}, high[4] = {0}, nan[4] = {0}, mask[4];
    const NAME(vf) zero = {0}, full = zero + 255.0f, half = zero - 0.5f, beyond = zero + 255.5f;
    for (int p = 0; p < lanes; p++)
        for (int k = 0; k < N; k++) {
            const cv_tone *tone = tones + (p * N + k) % lanes;
            least[p][k] = tone->least, most[p][k] = tone->most, gain[p][k] = tone->gain, offset[p][k] = tone->offset;
            mask[p][k] = tone->absolute ? 0x7fffffff : -1; /* leaves |v| of v */
        }
    for (int64_t i = 0; i < n; i += N * lanes) {
        const int whole = i + N * lanes <= n;
        float rest[4 * N];
        uint8_t made[4 * N];
        if (!whole) /* filled up with values of the same planes, which change no extreme and are not counted */
            for (int k = 0; k < N * lanes; k++) rest[k] = values[i + k < n ? i + k : i + k % lanes];
        const float *from = whole ? values + i : rest;
        uint8_t *to = whole ? out + i : made;
#pragma GCC unroll 4
        for (int p = 0; p < lanes; p++) {
            NAME(vf) x = *(const NAME(lf) *)(from + p * N);
            NAME(hf) halves[2];
            least[p] = LEAST(x, least[p]), most[p] = MOST(x, most[p]);
            NAME(vi) counted = {0}, bad = x != x;
            counted -= 1;
            if (!whole)
                for (int k = 0; k < N; k++) if (i + p * N + k >= n) counted[k] = 0;
            NAME(vf) summed = (NAME(vf))((NAME(vi))x & counted);
            memcpy(halves, &summed, sizeof summed);
            total[p] += __builtin_convertvector(halves[0], NAME(vd));
            other[p] += __builtin_convertvector(halves[1], NAME(vd));
            nan[p] -= bad & counted;
            x = (NAME(vf))((NAME(vi))x & mask[p]) * gain[p];
            ROUNDED(x);
            x += offset[p];
            low[p] -= (x < half) & counted, high[p] -= (x >= beyond) & counted;
            /* 1.5 * 2^23 has a last digit of 1: adding it rounds half to even, and the low byte is the number. */
            x = LEAST(MOST(x, zero), full) + 12582912.0f;
            *(NAME(lb) *)(to + p * N) = __builtin_convertvector((NAME(vi))x, NAME(vb));
        }
        if (!whole) memcpy(out + i, made, n - i);
    }
    for (int p = 0; p < lanes; p++)
        for (int k = 0; k < N; k++) {
            cv_tone *tone = tones + (p * N + k) % lanes;
            if (least[p][k] < tone->least) tone->least = least[p][k];
            if (most[p][k] > tone->most) tone->most = most[p][k];
            tone->total += k < N / 2 ? total[p][k] : other[p][k - N / 2];
            tone->n_low += low[p][k], tone->n_high += high[p][k], tone->n_nan += nan[p][k];
        }
}

static void NAME(store)(const float *values, int64_t n, int lanes, cv_tone *tones, uint8_t *out)
{
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
