// `embed_rows(table, ids, out, rows, how, width)`: a block owns a row of the output. An id that the table does not have
// gives a row of what is not a number.

#include "../../tiles/cuda/decode.cuh"

KERNEL embed_rows(const uint8_t *table, const uint32_t *ids, float *out, uint32_t rows, uint32_t how, uint32_t width) {
    begin();
    Type type = type_of(how);
    uint32_t id = ids[blockIdx.x];
    const uint8_t *row = table + id * row_bytes(type, width);
    out += (size_t)blockIdx.x * width;
    bool whole = (reinterpret_cast<uintptr_t>(out) & 15) == 0;
    for (uint32_t first = 8 * threadIdx.x; first < width; first += 8 * blockDim.x) {
        float w[8];
        if (id < rows) {
            decode(type, row, first, width, w);
        } else {
            for (int i = 0; i < 8; i++) w[i] = not_a_number();
        }
        if (whole && width - first >= 8) {
            float4 *at = reinterpret_cast<float4 *>(out + first);
            at[0] = make_float4(w[0], w[1], w[2], w[3]);
            at[1] = make_float4(w[4], w[5], w[6], w[7]);
        } else {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if (i < width - first) out[first + i] = w[i];
            }
        }
    }
}
