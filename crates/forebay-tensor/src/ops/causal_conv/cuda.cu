// `causal_conv(x, weight, bias, state, out, channels, is_silu, taps, count)`: a thread owns a channel for `TIMES` times. Only the
// first times look back into the state, so that their thread alone reads it, and then leaves the last inputs in it. Without a
// bias its address is zero.

#include "../../tiles/cuda/curves.cuh"

#define MOST_TAPS 8
#define TIMES 64

KERNEL causal_conv(const float *x, const float *weight, const float *bias, float *state, float *out,
                   uint32_t channels, uint32_t is_silu, uint32_t taps, uint32_t count) {
    begin();
    uint32_t stripes = (channels + blockDim.x - 1) / blockDim.x;
    uint32_t channel = blockIdx.x % stripes * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    uint32_t first = blockIdx.x / stripes * TIMES, last = min(count - first, TIMES) + first, before = taps - 1;
    // The input at a time, of which the state holds those before the first.
    auto input = [&](uint32_t time) {
        return time < before ? state[(size_t)time * channels + channel]
                             : x[(size_t)(time - before) * channels + channel];
    };

    // The newest tap and the newest input are at the end; what lies before the oldest tap is never looked at.
    float tap[MOST_TAPS], inputs[MOST_TAPS];
#pragma unroll
    for (uint32_t j = 0; j < MOST_TAPS; j++) {
        bool is_there = j + taps >= MOST_TAPS;
        uint32_t own = is_there ? j + taps - MOST_TAPS : 0;
        tap[j] = is_there ? weight[(size_t)channel * taps + own] : 0.0f;
        inputs[j] = is_there && j + 1 < MOST_TAPS ? input(first + own) : 0.0f;
    }
    float start = bias ? bias[channel] : 0.0f;
    for (uint32_t time = first; time < last; time++) {
        inputs[MOST_TAPS - 1] = x[(size_t)time * channels + channel];
        float sum = start;
#pragma unroll
        for (uint32_t j = 0; j < MOST_TAPS; j++) {
            if (j + taps >= MOST_TAPS) sum = __fmaf_rn(tap[j], inputs[j], sum);
        }
        out[(size_t)time * channels + channel] = is_silu ? silu(sum) : sum;
#pragma unroll
        for (uint32_t j = 0; j + 1 < MOST_TAPS; j++) inputs[j] = inputs[j + 1];
    }
    if (first == 0) {
        // A row is read before it is written, because it comes from one further down.
        for (uint32_t time = 0; time < before; time++) {
            state[(size_t)time * channels + channel] = input(time + count);
        }
    }
}
