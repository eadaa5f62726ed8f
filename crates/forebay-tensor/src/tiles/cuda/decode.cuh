// Elements of every weight format of one plane, eight at a time, with the very bits that `quant::decode` gives them.
//
// The layouts are drawn in `quant/`, one file a format. Blocks lie at any address, so bytes are gathered from the aligned
// words that hold them. Every product and every difference is rounded by itself, as on the CPU: nothing here is fused.

#pragma once

#include "begin.cuh"
#include "tables.cuh"

// The types that weights in rows can have.
enum class Type : uint32_t {
#define EACH(NAME, CODE, ELEMENTS, BYTES) NAME = CODE,
    FORMATS(EACH)
#undef EACH
};

// The type of a weight, out of what the host says about how it is multiplied.
__device__ __forceinline__ Type type_of(uint32_t how) { return static_cast<Type>(how >> 16 & 255); }

// Bytes of a row of so many elements, which are whole blocks.
__device__ __forceinline__ size_t row_bytes(Type type, uint32_t width) {
    switch (type) {
#define EACH(NAME, CODE, ELEMENTS, BYTES) \
    case Type::NAME: return (size_t)(width / ELEMENTS) * BYTES;
        FORMATS(EACH)
#undef EACH
    }
    return 0;
}

// The aligned word that holds a byte.
__device__ __forceinline__ uint32_t word_around(const uint8_t *p) {
    return __ldg(reinterpret_cast<const uint32_t *>(reinterpret_cast<uintptr_t>(p) & ~(uintptr_t)3));
}

// Four bytes, the first lowest.
__device__ __forceinline__ uint32_t word_at(const uint8_t *p) {
    return __funnelshift_r(word_around(p), word_around(p + 3), 8 * (uint32_t)(reinterpret_cast<uintptr_t>(p) & 3));
}

__device__ __forceinline__ uint32_t short_at(const uint8_t *p) { return __ldg(p) | (uint32_t)__ldg(p + 1) << 8; }

__device__ __forceinline__ float half_of(uint32_t bits) { return __half2float(__ushort_as_half((unsigned short)bits)); }

__device__ __forceinline__ float half_at(const uint8_t *p) { return half_of(short_at(p)); }

// Eight small numbers, a byte each.
struct Codes {
    uint32_t low, high;

    // The same bits of every byte.
    __device__ __forceinline__ Codes bits(uint32_t shift, uint32_t mask) const {
        return {low >> shift & mask * 0x01010101u, high >> shift & mask * 0x01010101u};
    }

    // Bits of another eight above those of this one, moved up.
    __device__ __forceinline__ Codes with(Codes above, uint32_t shift) const {
        return {low | above.low << shift, high | above.high << shift};
    }

    __device__ __forceinline__ int32_t operator[](int i) const { return (i < 4 ? low : high) >> (8 * (i & 3)) & 255; }

    __device__ __forceinline__ int32_t with_sign(int i) const { return (int8_t)(*this)[i]; }
};

// Eight bytes.
__device__ __forceinline__ Codes codes_at(const uint8_t *p) {
    uint32_t shift = 8 * (uint32_t)(reinterpret_cast<uintptr_t>(p) & 3);
    uint32_t middle = word_around(p + 4 - shift / 8);
    return {__funnelshift_r(word_around(p), middle, shift), __funnelshift_r(middle, word_around(p + 7), shift)};
}

// Eight bits, each as the lowest of a byte.
__device__ __forceinline__ Codes spread(uint32_t bits) {
    // A multiplication by this puts the four lowest bits seven bits apart, so that each is where a byte begins.
    return {(bits & 15) * 0x00204081u & 0x01010101u, (bits >> 4 & 15) * 0x00204081u & 0x01010101u};
}

// What four codes below 16 are worth, a byte each, of a table of 16 bytes.
__device__ __forceinline__ uint32_t four_levels(uint32_t codes, uint64_t low, uint64_t high) {
    codes |= codes >> 4;
    codes = __byte_perm(codes, 0, 0x4420);
    uint32_t below = __byte_perm((uint32_t)low, (uint32_t)(low >> 32), codes & 0x7777);
    uint32_t above = __byte_perm((uint32_t)high, (uint32_t)(high >> 32), codes & 0x7777);
    return __byte_perm(below, above, 0x3210 | (codes & 0x8888) >> 1);
}

__device__ __forceinline__ Codes levels(Codes codes, uint64_t low, uint64_t high) {
    return {four_levels(codes.low, low, high), four_levels(codes.high, low, high)};
}

// `scale * (code - middle)`.
__device__ __forceinline__ void centred(float scale, Codes codes, int middle, float (&w)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) w[i] = __fmul_rn(scale, (float)(codes[i] - middle));
}

// `scale * code`, where codes have signs.
__device__ __forceinline__ void with_signs(float scale, Codes codes, float (&w)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) w[i] = __fmul_rn(scale, (float)codes.with_sign(i));
}

// `scale * code + offset`.
__device__ __forceinline__ void line(float scale, float offset, Codes codes, float (&w)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) w[i] = __fadd_rn(__fmul_rn(scale, (float)codes[i]), offset);
}

// The scale and the minimum of a part of Q4_K and Q5_K, as `quant/k_scales.rs` draws them.
__device__ __forceinline__ void k_line(const uint8_t *block, uint32_t part, Codes codes, float (&w)[8]) {
    const uint8_t *packed = block + 4;
    uint32_t scale, minimum;
    if (part < 4) {
        scale = __ldg(packed + part) & 63;
        minimum = __ldg(packed + 4 + part) & 63;
    } else {
        uint32_t low = __ldg(packed + 4 + part);
        scale = (low & 15) | (uint32_t)__ldg(packed + part - 4) >> 6 << 4;
        minimum = low >> 4 | (uint32_t)__ldg(packed + part) >> 6 << 4;
    }
    float d = __fmul_rn(half_at(block), (float)scale), m = __fmul_rn(half_at(block + 2), (float)minimum);
    line(d, -m, codes, w);
}

// Eight signs, of which seven are stored and the last makes the number of minuses even.
__device__ __forceinline__ uint32_t even_signs(uint32_t seven) {
    seven &= 127;
    return seven | (__popc(seven) & 1) << 7;
}

__device__ __forceinline__ float signed_by(float x, uint32_t signs, int i) { return signs >> i & 1 ? -x : x; }

// A point of an IQ2 format.
__device__ __forceinline__ void point_of_eight(float scale, uint32_t point, uint32_t signs, float (&w)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t level = (uint32_t)IQ2_LEVELS >> (8 * (point >> (2 * i) & 3)) & 255;
        w[i] = signed_by(__fmul_rn(scale, (float)level), signs, i);
    }
}

// A point of an IQ1 format.
__device__ __forceinline__ void ternary_point(float scale, uint32_t number, bool down, float (&w)[8]) {
    uint32_t point = __ldg(IQ1_POINTS + number);
    float shift = down ? -1.125f : -0.875f;
#pragma unroll
    for (int i = 0; i < 8; i++) w[i] = __fmul_rn(scale, (float)(point >> (2 * i) & 3) + shift);
}

// Half of what an E4M3 code without sign is worth; the code that is no number counts as zero.
__device__ __forceinline__ float half_e4m3(uint32_t code) {
    uint32_t exponent = code >> 3 & 15, fraction = code & 7;
    float usual = __uint_as_float((exponent + 119) << 23 | fraction << 20);
    return code == 127 ? 0.0f : exponent == 0 ? (float)fraction * (1.0f / 1024.0f) : usual;
}

__device__ __forceinline__ float half_e8m0(uint32_t code) {
    return __uint_as_float(code < 2 ? 0x00200000u << code : (code - 1) << 23);
}

__device__ __forceinline__ uint32_t power_of_three(uint32_t exponent) {
    return (exponent & 1 ? 3 : 1) * (exponent & 2 ? 9 : 1) * (exponent & 4 ? 81 : 1);
}

// Eight elements of a block, of which the first is number `at`, a multiple of eight.
template <Type TYPE>
__device__ __forceinline__ void decode_in_block(const uint8_t *block, uint32_t at, float (&w)[8]) {
    // Where the eight are in a block of 256: in an eighth, a sixteenth, or by eights.
    uint32_t eighth = at / 32, sixteenth = at / 16, group = at / 8, in_eighth = at % 32;
    // In layouts of four codes a byte, or of two where the second half of 32 lies above the first.
    uint32_t quarter = 2 * (eighth % 4), half = at % 32 / 16 * 4, in_half = at % 16;

    if constexpr (TYPE == Type::Q4_0) {
        centred(half_at(block), codes_at(block + 2 + in_half).bits(half, 15), 8, w);
    } else if constexpr (TYPE == Type::Q4_1) {
        line(half_at(block), half_at(block + 2), codes_at(block + 4 + in_half).bits(half, 15), w);
    } else if constexpr (TYPE == Type::Q5_0) {
        Codes fifths = spread(__ldg(block + 2 + at / 8));
        centred(half_at(block), codes_at(block + 6 + in_half).bits(half, 15).with(fifths, 4), 16, w);
    } else if constexpr (TYPE == Type::Q5_1) {
        Codes fifths = spread(__ldg(block + 4 + at / 8));
        Codes codes = codes_at(block + 8 + in_half).bits(half, 15).with(fifths, 4);
        line(half_at(block), half_at(block + 2), codes, w);
    } else if constexpr (TYPE == Type::Q8_0) {
        with_signs(half_at(block), codes_at(block + 2 + at), w);
    } else if constexpr (TYPE == Type::Q8_1) {
        with_signs(half_at(block), codes_at(block + 4 + at), w);
    } else if constexpr (TYPE == Type::Q8_K) {
        with_signs(__uint_as_float(word_at(block)), codes_at(block + 4 + at), w);
    } else if constexpr (TYPE == Type::Q2_K) {
        uint32_t scales = __ldg(block + sixteenth);
        float scale = __fmul_rn(half_at(block + 80), (float)(scales & 15));
        float minimum = __fmul_rn(half_at(block + 82), (float)(scales >> 4));
        line(scale, -minimum, codes_at(block + 16 + at / 128 * 32 + in_eighth).bits(quarter, 3), w);
    } else if constexpr (TYPE == Type::Q3_K) {
        uint32_t low = (uint32_t)__ldg(block + 96 + sixteenth % 8) >> (sixteenth / 8 * 4) & 15;
        uint32_t high = (uint32_t)__ldg(block + 104 + sixteenth % 4) >> (sixteenth / 4 * 2) & 3;
        float scale = __fmul_rn(half_at(block + 108), (float)((int)(low | high << 4) - 32));
        Codes thirds = codes_at(block + in_eighth).bits(eighth, 1);
        Codes codes = codes_at(block + 32 + at / 128 * 32 + in_eighth).bits(quarter, 3).with(thirds, 2);
        centred(scale, codes, 4, w);
    } else if constexpr (TYPE == Type::Q4_K) {
        Codes codes = codes_at(block + 16 + at / 64 * 32 + in_eighth).bits(eighth % 2 * 4, 15);
        k_line(block, eighth, codes, w);
    } else if constexpr (TYPE == Type::Q5_K) {
        Codes fifths = codes_at(block + 16 + in_eighth).bits(eighth, 1);
        Codes codes = codes_at(block + 48 + at / 64 * 32 + in_eighth).bits(eighth % 2 * 4, 15);
        k_line(block, eighth, codes.with(fifths, 4), w);
    } else if constexpr (TYPE == Type::Q6_K) {
        Codes high = codes_at(block + 128 + at / 128 * 32 + in_eighth).bits(quarter, 3);
        Codes low = codes_at(block + at / 128 * 64 + eighth % 2 * 32 + in_eighth).bits(eighth % 4 / 2 * 4, 15);
        float scale = __fmul_rn(half_at(block + 208), (float)(int8_t)__ldg(block + 192 + sixteenth));
        centred(scale, low.with(high, 4), 32, w);
    } else if constexpr (TYPE == Type::IQ4_NL) {
        Codes codes = codes_at(block + 2 + in_half).bits(half, 15);
        with_signs(half_at(block), levels(codes, IQ4_LEVELS_LOW, IQ4_LEVELS_HIGH), w);
    } else if constexpr (TYPE == Type::IQ4_XS) {
        uint32_t low = (uint32_t)__ldg(block + 4 + eighth / 2) >> (eighth % 2 * 4) & 15;
        uint32_t high = short_at(block + 2) >> (2 * eighth) & 3;
        float scale = __fmul_rn(half_at(block), (float)((int)(low | high << 4) - 32));
        Codes codes = codes_at(block + 8 + 16 * eighth + in_half).bits(half, 15);
        with_signs(scale, levels(codes, IQ4_LEVELS_LOW, IQ4_LEVELS_HIGH), w);
    } else if constexpr (TYPE == Type::TQ1_0) {
        float d = half_at(block + 52);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t byte = at < 160 ? in_eighth + i : at < 240 ? 32 + in_half + i : 48 + i % 4;
            uint32_t digit = at < 160 ? eighth : at < 240 ? (at - 160) / 16 : (at - 240) / 4 + i / 4;
            uint32_t rest = __ldg(block + byte) * power_of_three(digit) & 255;
            w[i] = __fmul_rn(d, (float)((int)(rest * 3 >> 8) - 1));
        }
    } else if constexpr (TYPE == Type::TQ2_0) {
        centred(half_at(block + 64), codes_at(block + at / 128 * 32 + in_eighth).bits(quarter, 3), 1, w);
    } else if constexpr (TYPE == Type::Q1_0) {
        float d = half_at(block);
        uint32_t plus = __ldg(block + 2 + group);
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] = signed_by(d, ~plus, i);
    } else if constexpr (TYPE == Type::Q2_0) {
        float d = half_at(block);
        uint32_t codes = short_at(block + 2 + at / 4);
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] = __fmul_rn(d, (float)((int)(codes >> (2 * i) & 3) - 1));
    } else if constexpr (TYPE == Type::MXFP4) {
        Codes codes = codes_at(block + 1 + in_half).bits(half, 15);
        with_signs(half_e8m0(__ldg(block)), levels(codes, E2M1_DOUBLED_LOW, E2M1_DOUBLED_HIGH), w);
    } else if constexpr (TYPE == Type::NVFP4) {
        Codes codes = codes_at(block + 4 + 8 * sixteenth).bits(in_half / 8 * 4, 15);
        with_signs(half_e4m3(__ldg(block + sixteenth)), levels(codes, E2M1_DOUBLED_LOW, E2M1_DOUBLED_HIGH), w);
    } else if constexpr (TYPE == Type::IQ1_S) {
        uint32_t part = short_at(block + 34 + 2 * eighth);
        float scale = __fmul_rn(half_at(block), (float)(1 + 2 * (part >> 12 & 7)));
        uint32_t number = __ldg(block + 2 + group) | (part >> (group % 4 * 3) & 7) << 8;
        ternary_point(scale, number, part >> 15, w);
    } else if constexpr (TYPE == Type::IQ1_M) {
        Codes words = codes_at(block + 48);
        uint32_t d = (words.low >> 12 & 15) | (words.low >> 28) << 4 | (words.high >> 12 & 15) << 8 | (words.high >> 28) << 12;
        uint32_t pair = eighth < 4 ? words.low : words.high;
        uint32_t grade = pair >> (at / 64 % 2 * 16 + sixteenth % 4 * 3) & 7;
        uint32_t high = (uint32_t)__ldg(block + 32 + sixteenth) >> (group % 2 * 4);
        float scale = __fmul_rn(half_of(d), (float)(1 + 2 * grade));
        ternary_point(scale, __ldg(block + group) | (high & 7) << 8, high & 8, w);
    } else if constexpr (TYPE == Type::IQ2_XXS) {
        const uint8_t *part = block + 2 + 8 * eighth;
        uint32_t signs_and_scale = word_at(part + 4);
        float scale = __fmul_rn(half_at(block), 0.5f + (float)(signs_and_scale >> 28)) * 0.25f;
        uint32_t signs = even_signs(signs_and_scale >> (group % 4 * 7));
        point_of_eight(scale, __ldg(IQ2_XXS_POINTS + __ldg(part + group % 4)), signs, w);
    } else if constexpr (TYPE == Type::IQ2_XS) {
        uint32_t grade = (uint32_t)__ldg(block + 66 + eighth) >> (sixteenth % 2 * 4) & 15;
        float scale = __fmul_rn(half_at(block), 0.5f + (float)grade) * 0.25f;
        uint32_t stored = short_at(block + 2 + 2 * group);
        point_of_eight(scale, __ldg(IQ2_XS_POINTS + (stored & 511)), even_signs(stored >> 9), w);
    } else if constexpr (TYPE == Type::IQ2_S) {
        uint32_t grade = (uint32_t)__ldg(block + 74 + eighth) >> (sixteenth % 2 * 4) & 15;
        float scale = __fmul_rn(half_at(block), 0.5f + (float)grade) * 0.25f;
        uint32_t high = (uint32_t)__ldg(block + 66 + eighth) >> (group % 4 * 2) & 3;
        uint32_t point = __ldg(IQ2_S_POINTS + (__ldg(block + 2 + group) | high << 8));
        point_of_eight(scale, point, __ldg(block + 34 + group), w);
    } else if constexpr (TYPE == Type::IQ3_XXS) {
        uint32_t signs_and_scale = word_at(block + 66 + 4 * eighth);
        float scale = __fmul_rn(half_at(block), 0.5f + (float)(signs_and_scale >> 28)) * 0.5f;
        uint32_t signs = even_signs(signs_and_scale >> (group % 4 * 7));
        uint32_t points = __ldg(IQ3_XXS_POINTS + __ldg(block + 2 + 2 * group)) |
                          (uint32_t)__ldg(IQ3_XXS_POINTS + __ldg(block + 3 + 2 * group)) << 12;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t level = (uint32_t)(IQ3_XXS_LEVELS >> (8 * (points >> (3 * i) & 7))) & 255;
            w[i] = signed_by(__fmul_rn(scale, (float)level), signs, i);
        }
    } else if constexpr (TYPE == Type::IQ3_S) {
        uint32_t grade = (uint32_t)__ldg(block + 106 + eighth / 2) >> (eighth % 2 * 4) & 15;
        float scale = __fmul_rn(half_at(block), (float)(1 + 2 * grade));
        uint32_t ninths = (uint32_t)__ldg(block + 66 + eighth) >> (group % 4 * 2);
        uint32_t first = __ldg(block + 2 + 2 * group) | (ninths & 1) << 8;
        uint32_t second = __ldg(block + 3 + 2 * group) | (ninths >> 1 & 1) << 8;
        uint32_t points = __ldg(IQ3_S_POINTS + first) | (uint32_t)__ldg(IQ3_S_POINTS + second) << 12;
        uint32_t signs = __ldg(block + 74 + group);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            w[i] = signed_by(__fmul_rn(scale, (float)(1 + 2 * (points >> (3 * i) & 7))), signs, i);
        }
    } else {
        static_assert(TYPE != TYPE, "a format without code");
    }
}

// Elements and bytes of a block.
template <Type TYPE>
struct Block;
#define EACH(NAME, CODE, ELEMENTS, BYTES) \
    template <> \
    struct Block<Type::NAME> { \
        static constexpr uint32_t elements = ELEMENTS, bytes = BYTES; \
    };
FORMATS(EACH)
#undef EACH

// An element of a plain type.
__device__ __forceinline__ float element(const float *p) { return __ldg(p); }
__device__ __forceinline__ float element(const __half *p) { return __half2float(__ldg(p)); }
__device__ __forceinline__ float element(const __nv_bfloat16 *p) { return __bfloat162float(__ldg(p)); }

template <class T>
__device__ __forceinline__ void plain_eight(const uint8_t *row, uint32_t first, uint32_t width, float (&w)[8]) {
    const T *p = reinterpret_cast<const T *>(row) + first;
#pragma unroll
    for (int i = 0; i < 8; i++) w[i] = i < width - first ? element(p + i) : 0.0f;
}

// Eight elements of a row from `first` on, which is a multiple of eight below the width. Past the end there are zeros.
template <Type TYPE>
__device__ __forceinline__ void decode_eight(const uint8_t *row, uint32_t first, uint32_t width, float (&w)[8]) {
    if constexpr (TYPE == Type::F32) {
        plain_eight<float>(row, first, width, w);
    } else if constexpr (TYPE == Type::F16) {
        plain_eight<__half>(row, first, width, w);
    } else if constexpr (TYPE == Type::BF16) {
        plain_eight<__nv_bfloat16>(row, first, width, w);
    } else {
        constexpr uint32_t elements = Block<TYPE>::elements;
        decode_in_block<TYPE>(row + (size_t)(first / elements) * Block<TYPE>::bytes, first % elements, w);
    }
}

// The same for a type that only the launch knows.
__device__ __forceinline__ void decode(Type type, const uint8_t *row, uint32_t first, uint32_t width, float (&w)[8]) {
    switch (type) {
#define EACH(NAME, CODE, ELEMENTS, BYTES) \
    case Type::NAME: decode_eight<Type::NAME>(row, first, width, w); break;
        FORMATS(EACH)
#undef EACH
    }
}
