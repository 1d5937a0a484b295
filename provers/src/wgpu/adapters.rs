//! GPUs that wgpu finds, and their memory.

use wgpu::{Adapter, Backends, DeviceType, Instance, InstanceDescriptor, InstanceFlags};

use crate::identity::normal_pci_address;

/// Interfaces that are searched: those with real compute shaders.
const INTERFACES: Backends = Backends::VULKAN.union(Backends::METAL).union(Backends::DX12);

/// Returns all adapters, hardware before software, discrete before integrated.
pub(super) fn all() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: INTERFACES,
        // No validation layers and no debug names in any build: they cost time and log output.
        flags: InstanceFlags::empty(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(INTERFACES));
    // A stable sort keeps the system's order among equals.
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

/// Returns the adapter's name for display.
pub(super) fn name(adapter: &Adapter) -> String {
    let info = adapter.get_info();
    let software = if is_software(adapter) { ", software" } else { "" };
    format!("wgpu, {}, {}{software}", info.backend, info.name)
}

/// Returns true if the adapter is software that runs on the CPU.
pub(super) fn is_software(adapter: &Adapter) -> bool {
    adapter.get_info().device_type == DeviceType::Cpu
}

/// Returns the adapter's PCI address; `None` if its driver does not report it.
pub(super) fn pci_address(adapter: &Adapter) -> Option<String> {
    normal_pci_address(&adapter.get_info().device_pci_bus_id)
}

/// Returns the bytes of the adapter's own memory; `None` unless its interface is Vulkan, the only one
/// queried.
pub(super) fn memory_bytes(adapter: &Adapter) -> Option<u64> {
    /// `VK_MEMORY_HEAP_DEVICE_LOCAL_BIT`.
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: the handles are only read, while the adapter that owns them is borrowed.
    #[allow(unsafe_code)]
    #[cfg(not(target_vendor = "apple"))]
    let heaps = unsafe {
        let vulkan = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        vulkan
            .shared_instance()
            .raw_instance()
            .get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    #[cfg(not(target_vendor = "apple"))]
    return heaps
        .memory_heaps_as_slice()
        .iter()
        .filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0)
        .map(|heap| heap.size)
        .max();
    #[cfg(target_vendor = "apple")]
    return None;
}
