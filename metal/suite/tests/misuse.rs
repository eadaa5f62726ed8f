#![allow(unsafe_code, reason = "misuses Metal's interface on purpose")]
//! What the software device is worth: each way to misuse Metal that it claims to notice is tried here, and noticed.
//!
//! Faults on the device's own threads end the process, so those run in one of their own. Rule for the unsafe code: U1,
//! the framework is software and checks what it is given.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    ptr::NonNull,
};

use objc2::{
    rc::{Retained, autoreleasepool},
    runtime::ProtocolObject,
};
use objc2_foundation::NSString;
use objc2_metal::{
    MTLAllocation, MTLBarrierScope, MTLBuffer, MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue,
    MTLCompileOptions, MTLComputeCommandEncoder, MTLComputePipelineState, MTLCreateSystemDefaultDevice,
    MTLDevice, MTLDispatchType, MTLEvent, MTLLibrary, MTLMathMode, MTLResidencySet,
    MTLResidencySetDescriptor, MTLResourceOptions, MTLSharedEvent, MTLSize,
};
use testkit as _;

type Object<P> = Retained<ProtocolObject<P>>;

const OPTIONS: MTLResourceOptions = MTLResourceOptions(
    MTLResourceOptions::StorageModeShared.0 | MTLResourceOptions::HazardTrackingModeUntracked.0,
);
const WORDS: usize = 512;
/// How often something is tried that may come out right by chance.
const TRIES: usize = 60;

/// `to[i] = from[i] + 1`.
const STEP: &str = "#include <metal_stdlib>\nkernel void step(device const uint *from [[buffer(0)]],\n\
    device uint *to [[buffer(1)]], uint i [[thread_position_in_grid]]) { to[i] = from[i] + 1; }\n";

struct Rig {
    device: Object<dyn MTLDevice>,
    queue: Object<dyn MTLCommandQueue>,
    step: Object<dyn MTLComputePipelineState>,
}

impl Rig {
    fn new() -> Self {
        let device = MTLCreateSystemDefaultDevice().unwrap();
        let queue = device.newCommandQueueWithMaxCommandBufferCount(8).unwrap();
        let step = autoreleasepool(|_| {
            let options = MTLCompileOptions::new();
            options.setMathMode(MTLMathMode::Safe);
            let library =
                device.newLibraryWithSource_options_error(&NSString::from_str(STEP), Some(&options)).unwrap();
            let function = library.newFunctionWithName(&NSString::from_str("step")).unwrap();
            device.newComputePipelineStateWithFunction_error(&function).unwrap()
        });
        Self { device, queue, step }
    }

    fn buffer(&self, value: u32) -> Object<dyn MTLBuffer> {
        let buffer = self.device.newBufferWithLength_options(4 * WORDS, OPTIONS).unwrap();
        let words = buffer.contents().cast::<u32>();
        // SAFETY: U1: so many words were allocated.
        (0..WORDS).for_each(|i| unsafe { words.add(i).write(value) });
        buffer
    }

    fn command_buffer(&self) -> Object<dyn MTLCommandBuffer> {
        self.queue.commandBufferWithUnretainedReferences().unwrap()
    }

    fn launch(
        &self,
        encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
        from: &Object<dyn MTLBuffer>,
        to: &Object<dyn MTLBuffer>,
    ) {
        encoder.setComputePipelineState(&self.step);
        for (index, buffer) in [from, to].into_iter().enumerate() {
            // SAFETY: U1.
            unsafe { encoder.setBuffer_offset_atIndex(Some(buffer), 0, index) };
        }
        let size = |width: usize| MTLSize { width, height: 1, depth: 1 };
        encoder.dispatchThreadgroups_threadsPerThreadgroup(size(WORDS / 64), size(64));
    }
}

fn encoder(buffer: &Object<dyn MTLCommandBuffer>) -> Object<dyn MTLComputeCommandEncoder> {
    buffer.computeCommandEncoderWithDispatchType(MTLDispatchType::Concurrent).unwrap()
}

fn event(event: &Object<dyn MTLSharedEvent>) -> &ProtocolObject<dyn MTLEvent> {
    ProtocolObject::from_ref(&**event)
}

fn first(buffer: &Object<dyn MTLBuffer>) -> u32 {
    // SAFETY: U1: nothing runs any more that writes it.
    unsafe { buffer.contents().cast::<u32>().read() }
}

/// Commits, and waits by an event that is signalled at the end.
fn finish(rig: &Rig, buffer: &Object<dyn MTLCommandBuffer>) {
    let end = rig.device.newSharedEvent().unwrap();
    buffer.encodeSignalEvent_value(event(&end), 1);
    buffer.commit();
    while end.signaledValue() < 1 {
        std::thread::yield_now();
    }
}

/// What is said of something that is noticed on the thread that does it.
fn noticed(act: impl FnOnce(&Rig)) -> String {
    let rig = Rig::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| act(&rig)));
    // What was left half done is not to be noticed again.
    std::mem::forget(rig);
    let panic = outcome.expect_err("it was not noticed");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn two_launches_without_a_barrier_change_places_and_with_one_they_do_not() {
    autoreleasepool(|_| {
        let rig = Rig::new();
        let run = |barrier: bool| {
            let [a, b, c] = [1, 10, 100].map(|value| rig.buffer(value));
            let buffer = rig.command_buffer();
            let encoder = encoder(&buffer);
            rig.launch(&encoder, &a, &b);
            if barrier {
                encoder.memoryBarrierWithScope(MTLBarrierScope::Buffers);
            }
            rig.launch(&encoder, &b, &c);
            encoder.endEncoding();
            finish(&rig, &buffer);
            first(&c) == 3
        };
        assert!((0..TRIES).all(|_| run(true)), "a barrier is passed");
        assert!(!(0..TRIES).all(|_| run(false)), "launches of a concurrent encoder have an order");
    });
}

#[test]
fn two_command_buffers_of_a_queue_change_places_unless_an_event_orders_them() {
    autoreleasepool(|_| {
        let rig = Rig::new();
        let run = |ordered: bool| {
            let [a, b, c] = [1, 10, 100].map(|value| rig.buffer(value));
            let between = rig.device.newSharedEvent().unwrap();
            let (one, two) = (rig.command_buffer(), rig.command_buffer());
            for (buffer, from, to) in [(&one, &a, &b), (&two, &b, &c)] {
                if ordered && std::ptr::eq(buffer, &two) {
                    buffer.encodeWaitForEvent_value(event(&between), 1);
                }
                let encoder = encoder(buffer);
                rig.launch(&encoder, from, to);
                encoder.endEncoding();
            }
            one.encodeSignalEvent_value(event(&between), 1);
            one.commit();
            finish(&rig, &two);
            while between.signaledValue() < 1 {
                std::thread::yield_now();
            }
            first(&c) == 3
        };
        assert!((0..TRIES).all(|_| run(true)), "an event is passed");
        assert!(!(0..TRIES).all(|_| run(false)), "command buffers have an order without an event");
    });
}

#[test]
fn encoders_and_command_buffers_are_used_in_their_order_only() {
    autoreleasepool(|_| {
        let cases: [(&str, fn(&Rig)); 6] = [
            ("not ended", |rig| autoreleasepool(|_| drop(encoder(&rig.command_buffer())))),
            ("while an encoder is open", |rig| {
                let buffer = rig.command_buffer();
                let encoder = encoder(&buffer);
                // Kept, so that this fault is the first.
                std::mem::forget(encoder.clone());
                buffer.commit();
            }),
            ("on an encoder that was ended", |rig| {
                let buffer = rig.command_buffer();
                let encoder = encoder(&buffer);
                encoder.endEncoding();
                encoder.endEncoding();
            }),
            ("that was committed", |rig| {
                let buffer = rig.command_buffer();
                buffer.commit();
                buffer.commit();
            }),
            ("without a pipeline", |rig| {
                let buffer = rig.command_buffer();
                let encoder = encoder(&buffer);
                std::mem::forget(encoder.clone());
                let one = MTLSize { width: 1, height: 1, depth: 1 };
                encoder.dispatchThreadgroups_threadsPerThreadgroup(one, one);
            }),
            ("nothing bound", |rig| {
                let buffer = rig.command_buffer();
                let encoder = encoder(&buffer);
                std::mem::forget(encoder.clone());
                encoder.setComputePipelineState(&rig.step);
                let one = MTLSize { width: 1, height: 1, depth: 1 };
                encoder.dispatchThreadgroups_threadsPerThreadgroup(one, one);
            }),
        ];
        for (wanted, act) in cases {
            let said = noticed(act);
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
    });
}

#[test]
fn what_is_autoreleased_needs_a_pool() {
    let said = noticed(|rig| drop(rig.command_buffer()));
    assert!(said.contains("where there is no pool"), "{said}");
}

#[test]
fn a_queue_that_would_make_the_host_wait_is_noticed() {
    autoreleasepool(|_| {
        let said = noticed(|rig| (0..9).for_each(|_| std::mem::forget(rig.command_buffer())));
        assert!(said.contains("the host would wait"), "{said}");
    });
}

#[test]
fn maths_that_is_not_safe_and_memory_that_is_not_shared_are_noticed() {
    autoreleasepool(|_| {
        let compile = |rig: &Rig, options: Option<&MTLCompileOptions>| {
            let _ = rig.device.newLibraryWithSource_options_error(&NSString::from_str(STEP), options);
        };
        assert!(noticed(|rig| compile(rig, None)).contains("safe maths"));
        assert!(noticed(|rig| compile(rig, Some(&MTLCompileOptions::new()))).contains("safe maths"));
        let said = noticed(|rig| {
            let _ = rig.device.newBufferWithLength_options(64, MTLResourceOptions::StorageModePrivate);
        });
        assert!(said.contains("resource options"), "{said}");
        let said = noticed(|rig| {
            let start = NonNull::from(&STEP).cast();
            // SAFETY: U1.
            let _ = unsafe {
                rig.device.newBufferWithBytesNoCopy_length_options_deallocator(start, 5, OPTIONS, None)
            };
        });
        assert!(said.contains("whole pages"), "{said}");
    });
}

#[test]
fn a_residency_set_must_not_outlive_its_members() {
    autoreleasepool(|_| {
        let said = noticed(|rig| {
            let set =
                rig.device.newResidencySetWithDescriptor_error(&MTLResidencySetDescriptor::new()).unwrap();
            let member = rig.buffer(0);
            let allocation: &ProtocolObject<dyn MTLAllocation> = ProtocolObject::from_ref(&*member);
            set.addAllocation(allocation);
            set.commit();
            drop(member);
            set.commit();
        });
        assert!(said.contains("that is gone"), "{said}");
    });
}

#[test]
fn an_event_never_falls() {
    autoreleasepool(|_| {
        let said = noticed(|rig| {
            let event = rig.device.newSharedEvent().unwrap();
            event.setSignaledValue(5);
            event.setSignaledValue(5);
        });
        assert!(said.contains("had come so far"), "{said}");
    });
}

#[test]
fn a_message_to_what_is_gone_is_noticed() {
    autoreleasepool(|_| {
        let said = noticed(|rig| {
            let buffer = rig.buffer(0);
            let raw = Retained::into_raw(buffer);
            // SAFETY: U1: shells stay.
            drop(unsafe { Retained::from_raw(raw) });
            // SAFETY: as above.
            let _ = unsafe { &*raw }.length();
        });
        assert!(said.contains("that is gone"), "{said}");
    });
}

/// Runs a test of this program, which is to end it, in a process of its own.
fn ended_by(test: &str) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env("MISUSE", "1").output().unwrap();
    assert!(!output.status.success(), "{test} was not noticed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_child() -> bool {
    env::var_os("MISUSE").is_some()
}

#[test]
fn planted_buffer_that_goes_too_early() {
    if is_child() {
        autoreleasepool(|_| {
            let rig = Rig::new();
            let (a, b) = (rig.buffer(1), rig.buffer(2));
            let buffer = rig.command_buffer();
            let encoder = encoder(&buffer);
            rig.launch(&encoder, &a, &b);
            encoder.endEncoding();
            drop(b);
            finish(&rig, &buffer);
        });
    }
}

#[test]
fn a_buffer_that_goes_before_its_launch_ends_the_process() {
    let said = ended_by("planted_buffer_that_goes_too_early");
    assert!(said.contains("runs on a SoftBuffer that is gone"), "{said}");
}

#[test]
fn planted_handler_without_a_pool() {
    if is_child() {
        autoreleasepool(|_| {
            let rig = Rig::new();
            let buffer = rig.command_buffer();
            let queue = rig.queue.clone();
            let handler = block2::RcBlock::new(move |_: NonNull<ProtocolObject<dyn MTLCommandBuffer>>| {
                let _ = queue.commandBufferWithUnretainedReferences();
            });
            // SAFETY: U1.
            unsafe { buffer.addCompletedHandler(block2::RcBlock::as_ptr(&handler)) };
            finish(&rig, &buffer);
            std::thread::sleep(std::time::Duration::from_secs(5));
        });
    }
}

#[test]
fn a_handler_without_a_pool_ends_the_process() {
    let said = ended_by("planted_handler_without_a_pool");
    assert!(said.contains("where there is no pool"), "{said}");
}
