//! Which public types may be sent to and shared with other threads, and which may move while pinned: all of them, in one
//! table.
//!
//! A type that loses or gains one of these without anybody meaning it changes what programs compile.

use forebay_device::*;

/// Whether a type has a trait, as a constant: an inherent one where the bound holds, else that of the trait in scope.
macro_rules! has {
    ($kind:ty: $bound:path) => {{
        #[allow(dead_code, reason = "used only where the bound does not hold")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        #[allow(dead_code, reason = "asked for a constant, never made")]
        struct Asked<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "used only where the bound holds")]
        impl<T: ?Sized + $bound> Asked<T> {
            const HAS: bool = true;
        }
        <Asked<$kind>>::HAS
    }};
}

macro_rules! rows {
    ($($kind:ty: $wanted:literal),+ $(,)?) => {
        [$((stringify!($kind), [has!($kind: Send), has!($kind: Sync), has!($kind: Unpin)], $wanted)),+]
    };
}

/// Every public type with the traits that it has to have, and no others.
fn table() -> Vec<(&'static str, [bool; 3], &'static str)> {
    rows! {
        Access: "Send Sync Unpin",
        Arena: "Send Sync Unpin",
        ArenaReport: "Send Sync Unpin",
        ArenaStats: "Send Sync Unpin",
        Arg<'static>: "Send Sync Unpin",
        ArgumentFault: "Send Sync Unpin",
        BackendKind: "Send Sync Unpin",
        Buffer: "Send Sync Unpin",
        CancelToken: "Send Sync Unpin",
        Caps: "Send Sync Unpin",
        Device: "Send Sync Unpin",
        DeviceOptions: "Send Sync Unpin",
        Entry: "Send Sync Unpin",
        Error: "Send Sync Unpin",
        Event: "Send Sync Unpin",
        Fence: "Send Sync Unpin",
        Grid: "Send Sync Unpin",
        // A group hands each argument out once, which it counts without a lock.
        Group<'static>: "Unpin",
        Holder: "Send Sync Unpin",
        HostPool: "Send Sync Unpin",
        HostPoolOptions: "Send Sync Unpin",
        HostPoolStats: "Send Sync Unpin",
        HostVec<f32>: "Send Sync Unpin",
        ImageFormat: "Send Sync Unpin",
        Init: "Send Sync Unpin",
        Kernel: "Send Sync Unpin",
        KernelDef: "Send Sync Unpin",
        Label: "Send Sync Unpin",
        LaunchProfile: "Send Sync Unpin",
        MappedFile: "Send Sync Unpin",
        MemoryKind: "Send Sync Unpin",
        MemoryReport: "Send Sync Unpin",
        Moment: "Send Sync Unpin",
        NotedLaunch: "Send Sync Unpin",
        NullCall: "Send Sync Unpin",
        NullControl: "Send Sync Unpin",
        NullOptions: "Send Sync Unpin",
        Param: "Send Sync Unpin",
        PerGroup: "Send Sync Unpin",
        Pool: "Send Sync Unpin",
        PoolOptions: "Send Sync Unpin",
        PoolStats: "Send Sync Unpin",
        PressureFn: "Send Sync Unpin",
        Queue: "Send Sync Unpin",
        QueueKind: "Send Sync Unpin",
        Read<'static, f32>: "Send Sync Unpin",
        Recording: "Send Sync Unpin",
        Request: "Send Sync Unpin",
        Residency<'static>: "Send Sync Unpin",
        Result<()>: "Send Sync Unpin",
        Retain: "Send Sync Unpin",
        Scalar: "Send Sync Unpin",
        // A scope and its buffers share tables without a lock: they stay on their thread.
        Scope<'static>: "Unpin",
        Scratch<'static>: "Unpin",
        Served: "Send Sync Unpin",
        Session: "Send Sync Unpin",
        SessionStats: "Send Sync Unpin",
        Share<'static>: "Send Sync Unpin",
        Shortage: "Send Sync Unpin",
        Signature: "Send Sync Unpin",
        Spot: "Send Sync Unpin",
        Stage<'static>: "Send Sync Unpin",
        StageProfile: "Send Sync Unpin",
        SubmissionRecord: "Send Sync Unpin",
        Tag: "Send Sync Unpin",
        Touched: "Send Sync Unpin",
        Trace: "Send Sync Unpin",
        TraceHeader: "Send Sync Unpin",
        TraceOptions: "Send Sync Unpin",
        TraceReader<std::io::Empty>: "Send Sync Unpin",
        UninitHostVec<f32>: "Send Sync Unpin",
        Write<'static, f32>: "Send Sync Unpin",
    }
    .to_vec()
}

#[test]
fn public_types_may_do_on_threads_what_the_table_says() {
    for (kind, has, wanted) in table() {
        let names = ["Send", "Sync", "Unpin"];
        let has: Vec<_> = names.into_iter().zip(has).filter(|(_, has)| *has).map(|(name, _)| name).collect();
        assert_eq!(has.join(" "), wanted, "{kind}");
    }
}

#[test]
fn the_table_has_every_public_type() {
    const TRAITS: [&str; 1] = ["HostElement"];
    let front = include_str!("../src/lib.rs");
    let exports = front.split("pub use ").skip(1).map(|item| item.split(';').next().unwrap_or_default());
    let words = exports.flat_map(|item| item.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let is_type = |word: &&str| {
        word.starts_with(|c: char| c.is_uppercase()) && word.contains(|c: char| c.is_lowercase())
    };
    let mut missing: Vec<_> = words.filter(is_type).collect();
    assert!(missing.len() > 50, "the front page was not understood: {missing:?}");
    let table = table();
    missing.retain(|word| {
        !TRAITS.contains(word) && !table.iter().any(|(kind, ..)| kind.split('<').next() == Some(word))
    });
    assert_eq!(missing, Vec::<&str>::new());
}
