// Curves that ops put numbers through. What is not a number stays none, and infinities go where the curve goes: that is why
// limits are comparisons, for `fmaxf` would pass over what is no number.

#pragma once

#include "begin.cuh"

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Below the limit the result is zero to the last bit, and minus infinity times zero would be no number.
__device__ __forceinline__ float silu(float x) {
    x = x < -110.0f ? -110.0f : x;
    return x * sigmoid(x);
}

// 0.5 * (1 + tanh(u)) is sigmoid(2 u), which does not cancel where tanh comes near -1.
__device__ __forceinline__ float gelu_tanh(float x) {
    float twice = 1.595769122f * x * (1.0f + 0.044715f * x * x);
    x = x < -20.0f ? -20.0f : x;
    return x * sigmoid(twice < -110.0f ? -110.0f : twice);
}

__device__ __forceinline__ float gelu_erf(float x) {
    x = x < -20.0f ? -20.0f : x;
    float z = 0.707106781f * x;
    return 0.5f * x * (x < 0.0f ? erfcf(-z) : 1.0f + erff(z));
}

__device__ __forceinline__ float softplus(float x) {
    float rest = log1pf(expf(-fabsf(x)));
    return x > 0.0f ? x + rest : rest;
}
