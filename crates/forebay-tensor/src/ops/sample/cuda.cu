// `sample(values, ids, uniform, out, k, temperature, top_p, min_p)`: a block owns a row, and a thread some candidates that
// stand side by side. Sums are of doubles, one thread's after another's, so that they only grow from place to place.

#include "../../tiles/cuda/begin.cuh"

#define MOST_THREADS 1024
// The least number that is not rounded more than others.
#define LEAST_NORMAL 0x1p-1022

// How likely an element is beside the largest. Two infinities are equal, though their difference is no number.
__device__ double likely(float x, float largest, double temperature) {
    return x == largest ? 1.0 : exp(((double)x - (double)largest) / temperature);
}

// What the threads before this one have together; `sums[blockDim.x]` is then what all have. All threads come here.
__device__ double sum_before(double own, double *sums) {
    __syncthreads();
    sums[threadIdx.x] = own;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (uint32_t thread = 0; thread < blockDim.x; thread++) {
            double one = sums[thread];
            sums[thread] = sum;
            sum += one;
        }
        sums[blockDim.x] = sum;
    }
    __syncthreads();
    return sums[threadIdx.x];
}

KERNEL sample(const float *values, const uint32_t *ids, const float *uniform, uint32_t *out, uint32_t k,
              float temperature, float top_p, float min_p) {
    begin();
    __shared__ double sums[MOST_THREADS + 1];
    __shared__ uint32_t numbers, candidates, place;
    size_t row = blockIdx.x;
    values += row * k;
    float largest = values[0];
    uint32_t run = k / blockDim.x + (k % blockDim.x != 0);
    uint32_t first = min(threadIdx.x * run, k), end = min(run, k - first) + first;

    // Numbers are what comes before the first that is none.
    if (threadIdx.x == 0) numbers = k;
    __syncthreads();
    for (uint32_t i = first; i < end; i++) {
        if (isnan(values[i])) {
            atomicMin(&numbers, i);
            break;
        }
    }
    __syncthreads();
    end = min(end, numbers);

    // Candidates are numbers until enough came before, or until one is too unlikely or cannot be drawn at all.
    double own = 0.0;
    for (uint32_t i = first; i < end; i++) own += likely(values[i], largest, 1.0);
    double before = sum_before(own, sums);
    double wanted = top_p < 1.0f ? (double)top_p * sums[blockDim.x] : INFINITY;
    double least = fmax((double)min_p, LEAST_NORMAL);
    if (threadIdx.x == 0) candidates = numbers;
    __syncthreads();
    own = 0.0;
    for (uint32_t i = first; i < end; i++) {
        double one = likely(values[i], largest, 1.0);
        if (i > 0 && (before + own >= wanted || one < least)) {
            atomicMin(&candidates, i);
            break;
        }
        own += one;
    }
    __syncthreads();
    end = min(end, candidates);

    if (threadIdx.x == 0) place = temperature == 0.0f || candidates == 0 ? 0 : candidates - 1;
    if (temperature != 0.0f) {
        own = 0.0;
        for (uint32_t i = first; i < end; i++) own += likely(values[i], largest, temperature);
        before = sum_before(own, sums);
        double drawn = (double)uniform[row] * sums[blockDim.x];
        own = 0.0;
        for (uint32_t i = first; i < end; i++) {
            own += likely(values[i], largest, temperature);
            if (before + own > drawn) {
                atomicMin(&place, i);
                break;
            }
        }
    }
    __syncthreads();
    if (threadIdx.x == 0) out[row] = ids[row * k + place];
}
