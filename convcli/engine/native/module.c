/* The core as a Python module, in the stable ABI of 3.11. Every buffer is checked here, so that no call can read or write
 * beyond it; the loops run without the GIL. */
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "core.h"

#define INDEX 100 /* beside cv_type: 32-bit integers */

static int refuse(const char *why)
{
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, why);
    return -1;
}

/* Return the cv_type of a buffer's items, INDEX, or -1. */
static int type_of(const Py_buffer *b)
{
    const char *f = b->format ? b->format : "B";
    if (*f == '=' || *f == '@') f++;
    if (f[0] && !f[1])
        switch (*f) {
        case 'B': return CV_U8;
        case 'h': return CV_I16;
        case 'H': return CV_U16;
        case 'f': return CV_F32;
        case 'd': return CV_F64;
        case 'i':
        case 'l': if (b->itemsize == 4) return INDEX;
        }
    return refuse("samples of this type");
}

/* Get a buffer of `ndim` dimensions whose last `dense` lie side by side. On failure b->obj stays NULL. */
static int get(PyObject *object, Py_buffer *b, int ndim, int dense, int writable)
{
    if (PyObject_GetBuffer(object, b, PyBUF_STRIDED_RO | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0))) {
        b->obj = NULL;
        return -1;
    }
    int fits = b->ndim == ndim && (uintptr_t)b->buf % b->itemsize == 0;
    Py_ssize_t step = b->itemsize;
    for (int k = ndim - 1; fits && k >= ndim - dense; step *= b->shape[k--])
        fits = b->strides[k] == step || b->shape[k] == 1;
    for (int k = 0; fits && k < ndim; k++)
        fits = b->shape[k] > 0 && b->shape[k] < INT32_MAX && b->strides[k] % b->itemsize == 0;
    if (fits) return 0;
    PyBuffer_Release(b);
    b->obj = NULL;
    return refuse("an array of other dimensions, or its items lie apart");
}

static void release(Py_buffer *b, int n)
{
    for (int k = 0; k < n; k++)
        if (b[k].obj) PyBuffer_Release(b + k);
}

/* Check that positions are -1 or within `n`. */
static int within(const Py_buffer *positions, Py_ssize_t n)
{
    const int32_t *at = positions->buf;
    for (Py_ssize_t k = 0; k < positions->shape[0]; k++)
        if (at[k] < -1 || at[k] >= n) return refuse("a position beyond the image");
    return 0;
}

/* Arguments that conv and picture share (samples, rows, columns, taps, bias, out, stride_h,
 * stride_w, dilation_h, dilation_w, constant, ...). */
enum { SAMPLES, ROWS, COLUMNS, TAPS, BIAS, OUT, N_BUFFERS };
typedef struct {
    Py_buffer b[N_BUFFERS];
    cv_job job;
    cv_source source;
    int real; /* cv_type of the taps */
    int64_t n_rows;
} call;

static int take(call *c, PyObject *const objects[N_BUFFERS], double constant, int out_ndim, int out_dense)
{
    static const int ndim[] = {4, 1, 1, 4, 1, 0}, dense[] = {1, 1, 1, 4, 1, 0};
    for (int k = 0; k < N_BUFFERS; k++) {
        if (k == BIAS && objects[k] == Py_None) continue;
        const int is_out = k == OUT;
        if (get(objects[k], c->b + k, is_out ? out_ndim : ndim[k], is_out ? out_dense : dense[k], is_out)) return -1;
    }
    const Py_buffer *x = c->b + SAMPLES, *taps = c->b + TAPS;
    const int type = type_of(x);
    c->real = type_of(taps);
    if (type < 0 || c->real < 0 || type_of(c->b + ROWS) != INDEX || type_of(c->b + COLUMNS) != INDEX || type == INDEX ||
        (c->real != CV_F32 && c->real != CV_F64) || (c->b[BIAS].obj && type_of(c->b + BIAS) != c->real))
        return refuse("types that do not belong together");
    cv_job *job = &c->job;
    if (job->stride_h < 1 || job->stride_w < 1 || job->dilation_h < 1 || job->dilation_w < 1 ||
        taps->shape[3] > CV_MOST_KERNEL_W)
        return refuse("stride, dilation or width of the kernel");
    job->n_in = (int32_t)x->shape[0], job->lanes = (int32_t)x->shape[3], job->n_out = (int32_t)taps->shape[0];
    job->kernel_h = (int32_t)taps->shape[2], job->kernel_w = (int32_t)taps->shape[3];
    const int64_t rows = (c->n_rows - 1) * job->stride_h + (int64_t)(job->kernel_h - 1) * job->dilation_h + 1;
    const int64_t columns = (int64_t)(job->out_w - 1) * job->stride_w + (int64_t)(job->kernel_w - 1) * job->dilation_w + 1;
    /* A step that is never taken does not decide how many lines are kept. */
    if (c->n_rows == 1) job->stride_h = 1;
    if (job->out_w == 1) job->stride_w = 1;
    if (job->kernel_h == 1) job->dilation_h = 1;
    if (job->kernel_w == 1) job->dilation_w = 1;
    /* Rows of a ring and places within a line are 32-bit integers. */
    if (rows > INT32_MAX / 8 || columns > INT32_MAX / 4 / job->lanes - 4096 || taps->shape[1] != job->n_in ||
        (job->lanes > 1 && job->n_in > 1) || c->b[ROWS].shape[0] != rows || c->b[COLUMNS].shape[0] != columns ||
        (c->b[BIAS].obj && c->b[BIAS].shape[0] != job->n_out))
        return refuse("shapes that do not belong together");
    if (within(c->b + ROWS, x->shape[1]) || within(c->b + COLUMNS, x->shape[2])) return -1;
    c->source = (cv_source){x->buf, x->strides[0], x->strides[1], x->strides[2], c->b[ROWS].buf, c->b[COLUMNS].buf,
                            (int32_t)columns, type, constant};
    return 0;
}

static int out_shape(call *c, PyObject *out, int ndim)
{
    Py_buffer b;
    if (get(out, &b, ndim, 0, 1)) return -1;
    c->n_rows = b.shape[ndim - 3], c->job.out_w = (int32_t)b.shape[ndim - 2];
    PyBuffer_Release(&b);
    return 0;
}

/* conv(samples (n_in, H, W, lanes), rows, columns, taps (n_out, n_in, kH, kW), bias or None,
 *      out (n_out, h, w, lanes), stride_h, stride_w, dilation_h, dilation_w, constant) */
static PyObject *conv(PyObject *self, PyObject *args)
{
    PyObject *o[N_BUFFERS], *result = NULL;
    call c;
    double constant;
    (void)self;
    memset(&c, 0, sizeof c);
    if (!PyArg_ParseTuple(args, "OOOOOOiiiid", o, o + 1, o + 2, o + 3, o + 4, o + 5, &c.job.stride_h, &c.job.stride_w,
                          &c.job.dilation_h, &c.job.dilation_w, &constant))
        return NULL;
    if (out_shape(&c, o[OUT], 4) || take(&c, o, constant, 4, 2)) goto end;
    const Py_buffer *out = c.b + OUT;
    if (type_of(out) != c.real || out->shape[0] != c.job.n_out || out->shape[3] != c.job.lanes) {
        refuse("shapes or types that do not belong together");
        goto end;
    }
    void *scratch = PyMem_Malloc(cv_conv_bytes(&c.job, c.real == CV_F64));
    if (!scratch) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    if (c.real == CV_F32)
        cv_conv_f32(&c.job, &c.source, c.b[TAPS].buf, c.b[BIAS].buf, c.n_rows, out->buf, out->strides[0],
                    out->strides[1], scratch);
    else
        cv_conv_f64(&c.job, &c.source, c.b[TAPS].buf, c.b[BIAS].buf, c.n_rows, out->buf, out->strides[0],
                    out->strides[1], scratch);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    Py_INCREF(Py_None);
    result = Py_None;
end:
    release(c.b, N_BUFFERS);
    return result;
}

/* Read [(gain, offset, absolute), ...], one for each of n. */
static int read_tones(PyObject *list, cv_tone *tones, Py_ssize_t n)
{
    if (n > CV_MOST_LANES || PyList_Size(list) != n) return refuse("one tone for each of at most four maps");
    for (Py_ssize_t k = 0; k < n; k++)
        if (!PyArg_ParseTuple(PyList_GetItem(list, k), "ffp", &tones[k].gain, &tones[k].offset, &tones[k].absolute))
            return -1;
    return 0;
}

/* Return [(least, most, total, n_low, n_high, n_nan, shift, squares), ...]. */
static PyObject *counts_of(const cv_tone *tones, Py_ssize_t n)
{
    PyObject *list = PyList_New(n);
    for (Py_ssize_t k = 0; list && k < n; k++) {
        const cv_tone *tone = tones + k;
        PyObject *one = Py_BuildValue("dddLLLdd", (double)tone->least, (double)tone->most, tone->total,
                                      (long long)tone->n_low, (long long)tone->n_high, (long long)tone->n_nan,
                                      (double)tone->shift, tone->squares);
        if (!one || PyList_SetItem(list, k, one)) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

/* picture(samples (n_in, H, W, lanes), rows, columns, taps (1 or 2, n_in, kH, kW) float32, bias or None,
 *         out (h, w, lanes) uint8, stride_h, stride_w, dilation_h, dilation_w, constant, tones) -> counts
 * Two kernels are combined into their magnitude. */
static PyObject *picture(PyObject *self, PyObject *args)
{
    PyObject *o[N_BUFFERS], *list, *result = NULL;
    call c;
    cv_tone tones[CV_MOST_LANES];
    double constant;
    (void)self;
    memset(&c, 0, sizeof c);
    if (!PyArg_ParseTuple(args, "OOOOOOiiiidO!", o, o + 1, o + 2, o + 3, o + 4, o + 5, &c.job.stride_h,
                          &c.job.stride_w, &c.job.dilation_h, &c.job.dilation_w, &constant, &PyList_Type, &list))
        return NULL;
    if (out_shape(&c, o[OUT], 3) || take(&c, o, constant, 3, 2) || read_tones(list, tones, c.job.lanes)) goto end;
    const Py_buffer *out = c.b + OUT;
    if (type_of(out) != CV_U8 || c.real != CV_F32 || c.job.n_out > 2 || out->shape[2] != c.job.lanes) {
        refuse("shapes or types that do not belong together");
        goto end;
    }
    void *scratch = PyMem_Malloc(cv_picture_bytes(&c.job));
    if (!scratch) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    cv_picture_u8(&c.job, &c.source, c.b[TAPS].buf, c.b[BIAS].buf, c.job.n_out == 2 ? CV_MAGNITUDE : CV_ALONE,
                  c.n_rows, tones, out->buf, out->strides[0], scratch);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
    result = counts_of(tones, c.job.lanes);
end:
    release(c.b, N_BUFFERS);
    return result;
}

/* store(maps (n, h, w) float32, tones, out (h, w, n) uint8) -> counts */
static PyObject *store(PyObject *self, PyObject *args)
{
    PyObject *m, *list, *o, *result = NULL;
    Py_buffer b[2];
    cv_tone tones[CV_MOST_LANES];
    (void)self;
    memset(b, 0, sizeof b);
    if (!PyArg_ParseTuple(args, "OO!O", &m, &PyList_Type, &list, &o)) return NULL;
    if (get(m, b, 3, 1, 0) || get(o, b + 1, 3, 2, 1) || read_tones(list, tones, b->shape[0])) goto end;
    const Py_ssize_t n = b->shape[0], height = b->shape[1], width = b->shape[2];
    if (type_of(b) != CV_F32 || type_of(b + 1) != CV_U8 || b[1].shape[0] != height || b[1].shape[1] != width ||
        b[1].shape[2] != n) {
        refuse("shapes or types that do not belong together");
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    cv_store_u8(b->buf, b->strides[0], b->strides[1], (int32_t)n, height, width, tones, b[1].buf, b[1].strides[0]);
    Py_END_ALLOW_THREADS
    result = counts_of(tones, n);
end:
    release(b, 2);
    return result;
}

/* magnitude(first, second, out): rows of float32 of one length */
static PyObject *magnitude(PyObject *self, PyObject *args)
{
    PyObject *o[3], *result = NULL;
    Py_buffer b[3];
    (void)self;
    memset(b, 0, sizeof b);
    if (!PyArg_ParseTuple(args, "OOO", o, o + 1, o + 2)) return NULL;
    for (int k = 0; k < 3; k++)
        if (get(o[k], b + k, 1, 1, k == 2) || type_of(b + k) != CV_F32 || b[k].shape[0] != b[0].shape[0]) {
            refuse("three rows of float32 of one length");
            goto end;
        }
    Py_BEGIN_ALLOW_THREADS
    cv_magnitude_f32(b[0].buf, b[1].buf, b[2].buf, b[0].shape[0]);
    Py_END_ALLOW_THREADS
    Py_INCREF(Py_None);
    result = Py_None;
end:
    release(b, 3);
    return result;
}

/* use_level(level) -> (level, name): the instruction set from now on, at most the processor's best */
static PyObject *use_level(PyObject *self, PyObject *args)
{
    int wanted;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &wanted)) return NULL;
    const int32_t used = cv_use_level(wanted);
    return Py_BuildValue("is", (int)used, cv_level_name(used));
}

static PyMethodDef methods[] = {
    {"conv", conv, METH_VARARGS, "Correlate one group's planes with its kernels."},
    {"picture", picture, METH_VARARGS, "Correlate, combine and store as bytes, a few rows at a time."},
    {"store", store, METH_VARARGS, "Store maps as bytes; return statistics of their values."},
    {"magnitude", magnitude, METH_VARARGS, "Root of the sum of squares of two rows."},
    {"use_level", use_level, METH_VARARGS, "Choose the instruction set: 0 baseline, 1 AVX2, 2 AVX-512."},
    {NULL, NULL, 0, NULL}};
static int begin(PyObject *module)
{
    (void)module;
    cv_use_level(cv_best_level());
    return 0;
}
static PyModuleDef_Slot slots[] = {{Py_mod_exec, begin}, {0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_core", "Compiled loops.", 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
