//! Opening the device that a recipe names.
//!
//! Deliberately not here: which operations run there.

use anyhow::{Result, bail};
use candle_core::{Device, utils::metal_is_available};

use crate::recipe::DeviceKind;

/// Opens the device.
///
/// # Errors
/// When this build cannot use it, with the remedy, or the driver fails.
pub fn open(kind: DeviceKind) -> Result<Device> {
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => cuda(),
        DeviceKind::Metal if metal_is_available() => Ok(Device::new_metal(0)?),
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda => {
            bail!("this build has no CUDA; run `cargo xtask train --device cuda`, which builds it")
        }
        DeviceKind::Metal => bail!(
            "this build has no Metal; run `cargo xtask train --device metal`, which builds it"
        ),
    }
}

/// Tokens that go through an encoder at a time where it is asked for no gradient, about: enough to keep a thread at work,
/// and on a GPU many more, which waits for nothing but the next operation.
pub fn tokens_at_once(kind: DeviceKind) -> usize {
    match kind {
        DeviceKind::Cpu => 384,
        DeviceKind::Cuda | DeviceKind::Metal => 4096,
    }
}

/// The first GPU, with one queue for all threads: what one thread computes is there when another reads it.
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "calls of the CUDA driver")]
fn cuda() -> Result<Device> {
    use candle_core::cuda_backend::cudarc::driver::{result, sys};

    let device = Device::new_cuda_with_stream(0)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: events order what happens in different queues, and there is one.
    unsafe { cuda.disable_event_tracking() };
    // Memory that was freed stays with the process: by default it goes back to the driver whenever the device is waited
    // for, and to get it again takes longer than most operations.
    let mut keep = u64::MAX;
    // SAFETY: the device is open, and the attribute is an unsigned number of 64 bits, which is only read.
    unsafe {
        let pool = result::device::get_mem_pool(cuda.cuda_stream().context().cu_device())?;
        result::mem_pool::set_attribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut keep).cast(),
        )?;
    }
    Ok(device)
}
