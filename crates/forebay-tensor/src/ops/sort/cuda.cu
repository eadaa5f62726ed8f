// `sort(x, ids, width, step, distance, blocks)`: a block's part of a step of every row's sort.

#include "../../tiles/cuda/order.cuh"

KERNEL sort(const float *x, uint32_t *ids, uint32_t width, uint32_t step, uint32_t distance, uint32_t blocks) {
    begin();
    __shared__ uint64_t keys[TILE];
    sort_step(x, nullptr, ids, width, width, step, distance, blocks, keys);
}
