// Rounded rows, as `quant/rounded.rs` draws them: 32 elements in 64 bytes.

#pragma once

#include "begin.cuh"

struct Rounded {
    int codes[8];
    float d;
    int sum;
    int sums[2];
    float dsum;
    float dsums[2];
    uint32_t nothing;
};
