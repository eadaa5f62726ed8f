// `follow(found, ids, positions, told, rows)`: `ids = told = found`, `positions += 1`. A thread owns four rows.

#include "../../tiles/cuda/begin.cuh"

KERNEL follow(const uint32_t *found, uint32_t *ids, uint32_t *positions, uint32_t *told, uint32_t rows) {
    begin();
    size_t first = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    for (size_t row = first; row < first + 4 && row < rows; row++) {
        uint32_t id = found[row];
        ids[row] = id;
        positions[row] += 1;
        told[row] = id;
    }
}
