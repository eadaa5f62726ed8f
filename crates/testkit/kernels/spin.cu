// `spin(out, value, n, micros)`: lets the time pass, then sets the first n elements, in one group.

#include <stdint.h>

extern "C" __global__ void spin(uint32_t *out, uint32_t value, uint32_t n, uint32_t micros) {
    uint64_t start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        __nanosleep(1000);
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < uint64_t(micros) * 1000);
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) out[i] = value;
}
