// Images of matrices for warpgroups: bricks of 128 rows and 64 columns of f16, each laid out as shared memory wants it.
//
// A row of a brick has 128 bytes, in eight parts of 16 that are turned by the row, so that parts of eight rows side by side
// lie in different banks. Bricks of the same rows follow each other along the columns; past the last column there are
// zeros. What lies past the last row is nobody's. Next: `ops/matmul/images.cu` writes them, `warpgroups.cu` and `flight.cu`
// there multiply them.

#pragma once

#include "panels.cuh"

#define BRICK_ROWS 128
#define BRICK_COLUMNS 64
#define BRICK_BYTES (BRICK_ROWS * BRICK_COLUMNS * 2)

// What activations are scaled by: numbers up to a million stay finite.
#define DOWN 0.0625f
#define UP 16.0f

// Where the eight columns are to which `column` belongs, in an image of so many bricks along the columns.
__device__ __forceinline__ uint8_t *part_of(uint8_t *image, uint32_t bricks, uint32_t row, uint32_t column) {
    size_t brick = (size_t)(row / BRICK_ROWS) * bricks + column / BRICK_COLUMNS;
    uint32_t part = (column / 8 % 8) ^ (row % 8);
    return image + brick * BRICK_BYTES + row % BRICK_ROWS * 128 + part * 16;
}

__device__ __forceinline__ uint32_t two_halves(float a, float b) {
    __half2 both = __floats2half2_rn(a, b);
    return *(uint32_t *)&both;
}

// Four values of a panel as two pairs of f16.
template <class F>
__device__ __forceinline__ uint2 quad_in_halves(F f, uint32_t quad, float scale, float minimum) {
    // A byte behind the digits of 2^23 is a number that much larger.
    const bool is_signed = !is_unsigned(f.code());
    if (is_signed) quad ^= 0x80808080;
    const float zero = 8388608.0f + (float)zero_of(f.code()) + (is_signed ? 128.0f : 0.0f);
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float value = __uint_as_float(__byte_perm(quad, 0x4b000000, 0x7650 + i)) - zero;
        v[i] = value * scale + (has_minimum(f.code()) ? minimum : 0.0f);
    }
    return make_uint2(two_halves(v[0], v[1]), two_halves(v[2], v[3]));
}
