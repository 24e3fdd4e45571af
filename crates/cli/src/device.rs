//! Opening the device that a recipe names.
//!
//! Deliberately not here: which operations run there.

use anyhow::{Result, bail};
use candle_core::{
    Device,
    utils::{cuda_is_available, metal_is_available},
};

use crate::recipe::DeviceKind;

/// Opens the device.
///
/// # Errors
/// When this build cannot use it, with the remedy, or the driver fails.
pub fn open(kind: DeviceKind) -> Result<Device> {
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda if cuda_is_available() => Ok(Device::new_cuda(0)?),
        DeviceKind::Metal if metal_is_available() => Ok(Device::new_metal(0)?),
        DeviceKind::Cuda => {
            bail!("this build has no CUDA; run `cargo xtask train --device cuda`, which builds it")
        }
        DeviceKind::Metal => bail!(
            "this build has no Metal; run `cargo xtask train --device metal`, which builds it"
        ),
    }
}
