// `embed_panels(table, ids, out, rows, how, width)`: rows of a table in panels. A block owns a row of the output; a thread
// takes two quads at a time.

#include "../../tiles/cuda/panels.cuh"

__device__ __forceinline__ float element(Any f, uint32_t quad, int i, float scale, float minimum) {
    float value = is_unsigned(f.code()) ? byte_of(quad, i) : (float)(int8_t)(quad >> (8 * i));
    float scaled = __fmul_rn(value - (float)zero_of(f.code()), scale);
    return has_minimum(f.code()) ? __fadd_rn(scaled, minimum) : scaled;
}

KERNEL embed_panels(
    const uint8_t *table, const uint32_t *ids, float *out, uint32_t rows, uint32_t how, uint32_t width
) {
    begin();
    Any f = Any{how};
    const uint32_t id = ids[blockIdx.x];
    out += (size_t)blockIdx.x * width;
    if (id >= rows) {
        for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) out[i] = not_a_number();
        return;
    }
    PanelPlace panel = panel_of(f, table, id / ROWS, width);
    const int row = id % ROWS, parts = parts_of(f.code(), f.how);
    const uint32_t side_bytes = ROWS * side_bytes_of(f.code(), f.how);
    for (uint32_t i = threadIdx.x; i < width / 8; i += blockDim.x) {
        uint32_t chunk = i / 4, t = i % 4, part = chunk & ((1 << parts) - 1);
        Sides<1> sides = load_sides<1>(f.code(), f.how, panel.sides + (size_t)(chunk >> parts) * side_bytes, part, row);
        float scale[2][1], minimum[2][1] = {};
        take_apart<1>(f.code(), f.how, sides, part, scale, minimum);
        Lines<uint32_t> lines = load_lines<uint32_t>(f.code(), panel.lines, chunk, t, 4 * row);
        uint32_t low, high;
        quads_of(f.code(), lines.a, lines.b, t, low, high);
        for (int j = 0; j < 4; j++) {
            out[chunk * COLUMNS + 4 * t + j] = element(f, low, j, scale[0][0], minimum[0][0]);
            out[chunk * COLUMNS + 16 + 4 * t + j] = element(f, high, j, scale[1][0], minimum[1][0]);
        }
    }
}
