/* Everything for one instruction set: SET, BYTES of a vector, ROWS times VECTORS sums in registers. */
#define N_ROWS ROWS
#define N_VECTORS VECTORS
#define N_NARROW (VECTORS > 3 ? 2 : 1)

#define REAL float
#define REAL_TYPE CV_F32
#define W (BYTES / 4)
#define NAME(X) JOIN(X##_f, SET)
#include "conv.inl"
#undef REAL
#undef REAL_TYPE
#undef W
#undef NAME

#define REAL double
#define REAL_TYPE CV_F64
#define W (BYTES / 8)
#define NAME(X) JOIN(X##_d, SET)
#include "conv.inl"
#undef REAL
#undef REAL_TYPE
#undef W
#undef NAME

#define NAME(X) JOIN(X, SET)
#include "tone.inl"
#undef NAME

#undef N_ROWS
#undef N_VECTORS
#undef N_NARROW
#undef SET
#undef BYTES
#undef ROWS
#undef VECTORS
