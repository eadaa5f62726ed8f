//! Seconds that candle takes for one product with a quantised weight: `candle_rate TYPE ROWS COLUMNS COUNT THREADS`.
//!
//! Prints `none` for a type that candle does not have, and its version for `--version`. Weights of one row take turns, as in
//! the runner `cpu` of `bench`, whose `peer` starts this; the variable RAYON_NUM_THREADS has to say THREADS as well, because
//! candle reads it.

use std::{borrow::Cow, env, error::Error, time::Instant};

use candle_core::{
    Device, Module, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
};

/// Weights that take turns where one row is multiplied, and products of each that are measured together.
const COPIES: usize = 3;
const TURNS: usize = 4;
/// Measurements, of which the least counts.
const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--version"] => println!("{}", version()),
        [name, rows, columns, count, threads] => match dtype(name) {
            None => println!("none"),
            Some(dtype) => {
                let threads: usize = threads.parse()?;
                if candle_core::utils::get_num_threads() != threads {
                    return Err("RAYON_NUM_THREADS and THREADS differ".into());
                }
                let shape = (rows.parse()?, columns.parse()?);
                println!("{:.9}", seconds(dtype, shape, count.parse()?)?);
            }
        },
        _ => return Err("usage: candle_rate TYPE ROWS COLUMNS COUNT THREADS".into()),
    }
    Ok(())
}

/// As this build has it.
fn version() -> String {
    let lock = include_str!("../../Cargo.lock");
    let own = lock.split("[[package]]").find(|package| package.contains("\nname = \"candle-core\"\n"));
    let line = own.and_then(|own| own.lines().find_map(|line| line.strip_prefix("version = ")));
    format!("candle-core {}", line.unwrap_or_default().trim_matches('"'))
}

/// The type that llama.cpp calls so.
fn dtype(name: &str) -> Option<GgmlDType> {
    Some(match name {
        "q4_0" => GgmlDType::Q4_0,
        "q4_1" => GgmlDType::Q4_1,
        "q5_0" => GgmlDType::Q5_0,
        "q5_1" => GgmlDType::Q5_1,
        "q8_0" => GgmlDType::Q8_0,
        "q2_K" => GgmlDType::Q2K,
        "q3_K" => GgmlDType::Q3K,
        "q4_K" => GgmlDType::Q4K,
        "q5_K" => GgmlDType::Q5K,
        "q6_K" => GgmlDType::Q6K,
        _ => return None,
    })
}

fn seconds(dtype: GgmlDType, shape: (usize, usize), count: usize) -> Result<f64, Box<dyn Error>> {
    let (rows, columns) = shape;
    let (copies, turns) = if count == 1 { (COPIES, TURNS) } else { (1, 1) };
    // Bytes whose scales are small numbers, whatever the format.
    let mut state = 1u32;
    let bytes: Vec<u8> = (0..rows * columns / dtype.block_size() * dtype.type_size())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3b
        })
        .collect();
    let weight = || -> Result<QMatMul, candle_core::Error> {
        let storage = QStorage::from_data(Cow::Borrowed(&bytes), &Device::Cpu, dtype)?;
        QMatMul::from_qtensor(QTensor::new(storage, shape)?)
    };
    let weights = (0..copies).map(|_| weight()).collect::<Result<Vec<_>, _>>()?;
    let x: Vec<f32> = (0..count * columns).map(|i| ((i * 7 + i / 5) % 31) as f32 - 15.0).collect();
    let x = Tensor::from_vec(x, (count, columns), &Device::Cpu)?;
    let all = || -> Result<(), candle_core::Error> {
        for weight in &weights {
            std::hint::black_box(weight.forward(&x)?);
        }
        Ok(())
    };
    // The first time weights are packed.
    all()?;
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let begun = Instant::now();
        for _ in 0..turns {
            all()?;
        }
        least = least.min(begun.elapsed().as_secs_f64() / (turns * copies) as f64);
    }
    Ok(least)
}
