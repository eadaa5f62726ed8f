// `router(logits, bias, ids, weights, experts, k, score, renormalise, scale)`: a block owns a row.

#include "../../tiles/cuda/order.cuh"

// As many as `mod.rs` says.
#define MOST_EXPERTS 1024

// `Score` of `mod.rs`.
enum Score { SOFTMAX = 0, SIGMOID = 1, SOFTMAX_OF_CHOSEN = 2 };

// The softmax of a row in shared memory that all threads of the block see. Each warp goes through all of it for the
// largest element and the sum, so that they are at hand in every thread.
__device__ void softmax(float *row, uint32_t width) {
    float most = -INFINITY, sum = 0.0f;
    for (uint32_t i = threadIdx.x % WARP; i < width; i += WARP) most = fmaxf(most, row[i]);
    most = warp_max(most);
    for (uint32_t i = threadIdx.x % WARP; i < width; i += WARP) sum += expf(row[i] - most);
    sum = warp_sum(sum);
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) row[i] = expf(row[i] - most) / sum;
    __syncthreads();
}

KERNEL router(const float *logits, const float *bias, uint32_t *ids, float *weights, uint32_t experts, uint32_t k,
              uint32_t score, uint32_t renormalise, float scale) {
    begin();
    __shared__ float scores[MOST_EXPERTS], chosen[MOST_EXPERTS];
    __shared__ uint64_t keys[MOST_EXPERTS];
    logits += (size_t)blockIdx.x * experts;
    ids += (size_t)blockIdx.x * k;
    weights += (size_t)blockIdx.x * k;
    for (uint32_t i = threadIdx.x; i < experts; i += blockDim.x) {
        scores[i] = score == SIGMOID ? 1.0f / (1.0f + expf(-logits[i])) : logits[i];
    }
    __syncthreads();
    if (score == SOFTMAX) softmax(scores, experts);

    uint32_t size = power_of_two(experts);
    for (uint32_t i = threadIdx.x; i < size; i += blockDim.x) {
        keys[i] = i < experts ? key_of(bias ? scores[i] + bias[i] : scores[i], i) : NO_KEY;
    }
    __syncthreads();
    sort_keys(keys, size);
    for (uint32_t i = threadIdx.x; i < k; i += blockDim.x) {
        ids[i] = column_of(keys[i]);
        chosen[i] = scores[column_of(keys[i])];
    }
    __syncthreads();
    if (score == SOFTMAX_OF_CHOSEN) softmax(chosen, k);
    float all = 1.0f;
    if (renormalise) {
        all = 0.0f;
        for (uint32_t i = threadIdx.x % WARP; i < k; i += WARP) all += chosen[i];
        all = warp_sum(all);
    }
    for (uint32_t i = threadIdx.x; i < k; i += blockDim.x) weights[i] = chosen[i] / all * scale;
}
