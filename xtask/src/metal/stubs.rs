//! What the link of a program for macOS is told about the system's libraries: their names, and of each the symbols that
//! our programs call.
//!
//! The link fails on any other symbol, so a call that is added is looked up once, in Apple's documents, and entered here.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// A library: its file below the stubs, where the system has it, and symbols of it.
struct Library {
    file: &'static str,
    place: &'static str,
    symbols: &'static str,
}

const LIBRARIES: &[Library] = &[
    Library {
        file: "Metal.framework/Metal.tbd",
        place: "/System/Library/Frameworks/Metal.framework/Versions/A/Metal",
        symbols: "_MTLCreateSystemDefaultDevice",
    },
    Library {
        file: "Foundation.framework/Foundation.tbd",
        place: "/System/Library/Frameworks/Foundation.framework/Versions/C/Foundation",
        symbols: "_NSLog",
    },
    Library {
        file: "CoreFoundation.framework/CoreFoundation.tbd",
        place: "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation",
        symbols: "_CFRetain _CFRelease",
    },
    Library {
        file: "CoreGraphics.framework/CoreGraphics.tbd",
        place: "/System/Library/Frameworks/CoreGraphics.framework/Versions/A/CoreGraphics",
        symbols: "_CGMainDisplayID",
    },
    Library {
        file: "libobjc.tbd",
        place: "/usr/lib/libobjc.A.dylib",
        symbols: "_class_getInstanceMethod _class_getName _class_isMetaClass _method_getName \
            _method_getTypeEncoding _objc_alloc _objc_alloc_init _objc_opt_new _objc_autorelease _objc_autoreleasePoolPop _objc_autoreleasePoolPush \
            _objc_getClass _objc_msgSend _objc_release _objc_retain _objc_retainAutoreleasedReturnValue \
            _object_getClass _sel_getName _sel_registerName",
    },
    Library { file: "libiconv.tbd", place: "/usr/lib/libiconv.2.dylib", symbols: "_iconv" },
    Library { file: "libc.tbd", place: SYSTEM, symbols: SYSTEM_SYMBOLS },
    Library { file: "libm.tbd", place: SYSTEM, symbols: MATHS },
    Library { file: "libSystem.tbd", place: SYSTEM, symbols: SYSTEM_SYMBOLS },
];

const SYSTEM: &str = "/usr/lib/libSystem.B.dylib";
const SYSTEM_SYMBOLS: &str = "_CCRandomGenerateBytes __Block_copy __Block_release __NSConcreteStackBlock __NSGetArgc \
    __NSGetArgv __Unwind_Backtrace __Unwind_DeleteException __Unwind_GetDataRelBase __Unwind_GetIP __Unwind_GetIPInfo \
    __Unwind_GetLanguageSpecificData __Unwind_GetRegionStart __Unwind_GetTextRelBase __Unwind_RaiseException \
    __Unwind_Resume __Unwind_SetGR __Unwind_SetIP ___error __dyld_get_image_header __dyld_get_image_name \
    __dyld_get_image_vmaddr_slide __dyld_image_count __tlv_atexit __tlv_bootstrap _abort _bzero _calloc \
    _clock_gettime _close _closedir _confstr _dirfd _dispatch_release _dispatch_semaphore_create _dispatch_semaphore_signal \
    _dispatch_semaphore_wait _dispatch_time _dlsym _dup _exit __exit _fcntl _fdopendir _free _fstat _fstatat _fsync \
    _ftruncate _getcwd _getenv _getpid _gettid _isatty _kill _link _lseek _lstat _madvise _malloc _memchr _memcmp \
    _memcpy _memmove _memset _memset_pattern16 _mkdir _mlock _mmap _mprotect _munlock _munmap _nanosleep _open \
    _openat _opendir _pause _poll _posix_madvise _posix_memalign _pread _pthread_attr_destroy _pthread_attr_init \
    _pthread_attr_setstacksize _pthread_cond_broadcast _pthread_cond_destroy _pthread_cond_signal \
    _pthread_cond_timedwait_relative_np _pthread_cond_wait _pthread_create _pthread_detach \
    _pthread_get_stackaddr_np _pthread_get_stacksize_np _pthread_join _pthread_mutex_destroy _pthread_mutex_init \
    _pthread_mutex_lock _pthread_mutex_trylock _pthread_mutex_unlock _pthread_mutexattr_destroy \
    _pthread_mutexattr_init _pthread_mutexattr_settype _pthread_self _pthread_setname_np _pthread_threadid_np \
    _pwrite _read _readdir_r _readlink _realloc _realpath _realpath$DARWIN_EXTSN _rename _rmdir _sched_yield \
    _setenv _sigaction _sigaltstack _signal _stat _strerror_r _strlen _symlink _sysconf _sysctl _sysctlbyname _unlink \
    _unlinkat _unsetenv _write _writev dyld_stub_binder";

const MATHS: &str = "_acos _acosf _asin _asinf _atan _atan2 _atan2f _atanf _cbrt _ceil _ceilf _cos _cosf _cosh _erf _erff _exp \
    _exp2 _exp2f _expf _expm1 _expm1f _floor _floorf _fmod _fmodf _hypot _log _log10 _log10f _log1p _log1pf \
    _log2 _log2f _logf _pow _powf _rint _rintf _round _roundf _sin _sinf _sinh _tan _tanf _tanh _tanhf _trunc \
    _truncf";

/// Writes the stubs into a folder.
pub(super) fn write(folder: &Path) -> Result<()> {
    for library in LIBRARIES {
        let path = folder.join(library.file);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        // What is the same keeps its time, so that nothing is linked anew.
        let text = library.text();
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

impl Library {
    /// The stub, as text-based stubs of the fourth version are written.
    fn text(&self) -> String {
        let symbols: Vec<_> = self.symbols.split_whitespace().map(|symbol| format!("'{symbol}'")).collect();
        format!(
            "--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos ]\ninstall-name: '{}'\ncurrent-version: 1\n\
             compatibility-version: 1\nexports:\n  - targets: [ arm64-macos ]\n    symbols: [ {} ]\n...\n",
            self.place,
            symbols.join(", ")
        )
    }
}
