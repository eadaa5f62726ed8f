//! `forebay devices`: what models can run on here, and why not on the others.

use std::io::{self, Write};

use clap::Args;
use forebay_device::{BackendKind, Caps, Device, DeviceOptions};
use forebay_tensor::{Level, Op, ops::Add};
use serde_json::{Value, json};

use crate::{cli::Failure, size::Size};

/// What `devices` takes.
#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Cards that are looked for.
const CARDS: usize = 16;

/// A device that can be asked for.
struct Found {
    /// What `--device` calls it.
    name: String,
    device: Result<Device, String>,
}

/// Runs the command.
pub(crate) fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let found = look();
    let mut out = io::stdout().lock();
    if args.json {
        let devices: Vec<Value> = found.iter().map(as_json).collect();
        writeln!(out, "{}", json!({ "devices": devices }))?;
        return Ok(());
    }
    for Found { name, device } in &found {
        match device {
            Ok(device) => {
                let caps = device.caps();
                writeln!(out, "{name:<8}{}, {}, {}", caps.name, Size(caps.memory), workers(caps))?;
            }
            Err(reason) => writeln!(out, "{name:<8}not here: {reason}")?,
        }
    }
    Ok(())
}

/// The devices that can be opened here, open.
pub(crate) fn all() -> Vec<(String, Device)> {
    look().into_iter().filter_map(|found| Some((found.name, found.device.ok()?))).collect()
}

fn look() -> Vec<Found> {
    let mut found = vec![open("cpu".to_owned(), BackendKind::Cpu, 0)];
    for card in 0..CARDS {
        let name = if card == 0 { "cuda".to_owned() } else { format!("cuda:{card}") };
        let device = open(name, BackendKind::Cuda, card);
        let last = device.device.is_err();
        if !last || card == 0 {
            found.push(device);
        }
        if last {
            break;
        }
    }
    found.push(open("metal".to_owned(), BackendKind::Metal, 0));
    found
}

fn open(name: String, kind: BackendKind, ordinal: usize) -> Found {
    let opened = Device::open(&DeviceOptions::new(kind).ordinal(ordinal));
    Found { name, device: opened.map_err(|error| error.to_string()) }
}

fn workers(caps: &Caps) -> String {
    match caps.backend {
        BackendKind::Cuda => {
            let (workers, card) = (caps.workers, caps.architecture);
            match image(caps) {
                Some(image) => format!("{workers} multiprocessors, sm_{card}, kernels from {image}"),
                None => format!("{workers} multiprocessors, sm_{card}, for which there are no kernels"),
            }
        }
        BackendKind::Cpu => format!("{} threads, kernels for {}", caps.workers, Level::best()),
        _ => format!("{} workers", caps.workers),
    }
}

/// Which image of kernels a card takes; all kernels have the same.
fn image(caps: &Caps) -> Option<String> {
    Add::served().first().and_then(|served| served.image_on(caps))
}

fn as_json(found: &Found) -> Value {
    match found.device.as_ref().map(Device::caps) {
        Ok(caps) => json!({
            "device": found.name,
            "name": caps.name,
            "memory": caps.memory,
            "unified": caps.unified,
            "workers": caps.workers,
            "image": image(caps),
        }),
        Err(reason) => json!({ "device": found.name, "missing": reason }),
    }
}
