/*===- mhc.h - C API of the runtime ------------------------------------------===
 *
 * Open a package, call an entry point on tensors in host memory, read the
 * results. No exception leaves these functions: they return NULL (or a status
 * other than 0), and mhc_error() says why. Objects may be used by one thread at
 * a time; the error text belongs to the calling thread.
 *
 *===------------------------------------------------------------------------===*/
#ifndef MHC_RT_MHC_H
#define MHC_RT_MHC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { MHC_BF16 = 0, MHC_F32 = 1, MHC_F64 = 2, MHC_I32 = 3, MHC_I64 = 4 } mhc_dtype;

typedef struct {
  const char *name;
  mhc_dtype dtype;
  int32_t rank;
  const int64_t *shape; /* rank numbers */
  const void *data;     /* row-major, dense, host memory */
} mhc_tensor;

typedef struct mhc_package mhc_package;
typedef struct mhc_device mhc_device;
typedef struct mhc_results mhc_results;

/* Why the last call of this thread failed; never NULL. */
const char *mhc_error(void);

/* Reads and verifies a package. */
mhc_package *mhc_open(const char *path);
void mhc_close(mhc_package *package);

/* Loads the package's kernels for "cpu" or "cuda". threads = 0: MHC_THREADS, or all processors. The device must be
   closed before its package. */
mhc_device *mhc_device_open(mhc_package *package, const char *kind, int32_t threads);
void mhc_device_close(mhc_device *device);

/* Runs one entry point. Exactly the entry's inputs must be there; a tensor that is missing, surplus or of another type
   or shape is an error that names it. */
mhc_results *mhc_call(mhc_device *device, const char *entry, const mhc_tensor *inputs, size_t count);

/* Results in order of their names; they live until mhc_results_free. */
size_t mhc_results_count(const mhc_results *results);
mhc_tensor mhc_results_get(const mhc_results *results, size_t index);
void mhc_results_free(mhc_results *results);

#ifdef __cplusplus
}
#endif

#endif /* MHC_RT_MHC_H */
