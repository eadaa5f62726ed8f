// `hold(word, millis)`: waits until somebody sets the word, or for so long.

#include <stdint.h>

extern "C" __global__ void hold(volatile uint32_t *word, uint32_t millis) {
    uint64_t start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        __nanosleep(1000);
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (*word == 0 && now - start < uint64_t(millis) * 1000000);
}
