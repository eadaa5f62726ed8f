// Images of matrices for warpgroups: bricks of 128 rows and 64 columns of f16, each laid out as shared memory wants it.
//
// A row of a brick has 128 bytes, in eight parts of 16 that are turned by the row, so that parts of eight rows side by side
// lie in different banks. Bricks of the same rows follow each other along the columns; past the last column there are
// zeros. What lies past the last row is nobody's. Next: `ops/matmul/images.cu` writes them, `ops/matmul/warpgroups.cu` multiplies them.

#pragma once

#include "begin.cuh"

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
