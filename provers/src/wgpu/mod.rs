//! Back end for every GPU with Vulkan, Metal or Direct3D 12.
//!
//! Portable rather than fast: 32-bit integers only, no feature beyond the standard's, and items in as many
//! buffers as the device's limits require.

mod adapters;
mod shaders;

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use assay_proof::{Hash, ITEM_BYTES, prover::ProverError};
use wgpu::{
    Adapter, BindGroup, BindGroupDescriptor, BindGroupEntry, Buffer, BufferDescriptor, BufferUsages,
    CommandEncoder, CommandEncoderDescriptor, ComputePass, ComputePassDescriptor, ComputePipeline,
    ComputePipelineDescriptor, DeviceDescriptor, ErrorFilter, MapMode, MemoryHints, PollType, Queue,
    ShaderModuleDescriptor, ShaderSource,
};

use self::shaders::{GROUP, PARAMS_BYTES};
use crate::{
    device::{
        Device, Fill, HardwareLimits, Layout, Source, Walk, device_error, failure, fold_buffer_nodes,
        nodes_of_bytes,
    },
    gpu::{GpuOptions, GpuProver},
};

/// Maximum number of groups in one dimension of a dispatch; the standard allows at least 65,535.
const MOST_GROUPS: u32 = 1 << 15;

/// Storage buffers of the walk besides those of the items: the leaves.
const OTHER_BUFFERS: u32 = 1;

/// Maximum number of item buffers, whatever the device allows: each is a case of a `switch`.
const MOST_ITEM_BUFFERS: u32 = 256;

/// Options of the wgpu back end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WgpuOptions {
    /// Options of the GPU.
    pub gpu: GpuOptions,
    /// Maximum length of an item buffer in bytes, if less than the device allows: for drivers that promise
    /// too much. Values below 64 count as 64.
    pub buffer_limit_bytes: Option<u64>,
}

/// Returns the names of the adapters that wgpu finds, best first; their positions are arguments of
/// [`prover`].
pub fn adapter_names() -> Vec<String> {
    adapters::all().iter().map(adapters::name).collect()
}

/// Adapter that wgpu finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundAdapter {
    /// True for a software implementation of a GPU.
    pub is_software: bool,
    /// PCI address in the kernel's spelling; `None` if the driver does not report it.
    pub pci_address: Option<String>,
}

/// Returns the adapters in the order of [`adapter_names`].
pub fn found_adapters() -> Vec<FoundAdapter> {
    adapters::all()
        .iter()
        .map(|adapter| FoundAdapter {
            is_software: adapters::is_software(adapter),
            pci_address: adapters::pci_address(adapter),
        })
        .collect()
}

/// Returns the position of the adapter at a PCI address.
pub(crate) fn adapter_at(pci_address: &str) -> Option<usize> {
    adapters::all()
        .iter()
        .position(|adapter| adapters::pci_address(adapter).as_deref() == Some(pci_address))
}

/// Starts a prover on one of the adapters. Fails if there is no such adapter, or its driver refuses.
pub fn prover(adapter_index: usize, options: WgpuOptions) -> Result<GpuProver, ProverError> {
    let adapters = adapters::all();
    let adapter = adapters
        .get(adapter_index)
        .ok_or_else(|| failure(format!("wgpu finds no adapter {adapter_index}")))?;
    let device = WgpuDevice::new(adapter, options.buffer_limit_bytes)?;
    Ok(GpuProver::new(Box::new(device), options.gpu))
}

/// First error that no call returned; wgpu reports most errors through a callback.
type FirstError = Arc<Mutex<Option<String>>>;

struct WgpuDevice {
    name: String,
    memory_bytes: Option<u64>,
    items_per_buffer: u32,
    most_item_buffers: u32,
    device: wgpu::Device,
    queue: Queue,
    errors: FirstError,
    params: Buffer,
    fill: ComputePipeline,
    fold: ComputePipeline,
    walk_made: ComputePipeline,
    memory: Option<Buffers>,
    copy: Option<[Buffer; 2]>,
}

/// Buffers of a challenge, with the bindings and pipelines that use them.
struct Buffers {
    /// Item buffers, each with the fill's bindings.
    items: Vec<(Buffer, BindGroup)>,
    /// Walk over stored items with its bindings; `None` if none are stored.
    walk_memory: Option<(ComputePipeline, BindGroup, BindGroup)>,
    walk_made: BindGroup,
    /// Two buffers of nodes: the leaves are in the first, and folds alternate between them.
    nodes: [Buffer; 2],
    folds: [BindGroup; 2],
}

impl WgpuDevice {
    fn new(adapter: &Adapter, buffer_limit_bytes: Option<u64>) -> Result<Self, ProverError> {
        let limits = adapter.limits();
        let (device, queue) = pollster::block_on(adapter.request_device(&DeviceDescriptor {
            label: None,
            required_limits: limits.clone(),
            // Larger memory blocks than requested would take memory from the items.
            memory_hints: MemoryHints::MemoryUsage,
            ..DeviceDescriptor::default()
        }))
        .map_err(device_error)?;

        let errors = FirstError::default();
        let told = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            remember(&told, error.to_string())
        }));
        let told = errors.clone();
        device.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                remember(&told, format!("the device was lost: {text}"));
            }
        });

        let buffer_bytes = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(buffer_limit_bytes.unwrap_or(u64::MAX))
            .max(ITEM_BYTES);
        let params = buffer(
            &device,
            PARAMS_BYTES,
            BufferUsages::UNIFORM | BufferUsages::COPY_DST,
        );
        let made = Self {
            name: adapters::name(adapter),
            memory_bytes: adapters::memory_bytes(adapter),
            items_per_buffer: u32::try_from(buffer_bytes / ITEM_BYTES).unwrap_or(u32::MAX),
            most_item_buffers: limits
                .max_storage_buffers_per_shader_stage
                .saturating_sub(OTHER_BUFFERS)
                .min(limits.max_bindings_per_bind_group)
                .min(MOST_ITEM_BUFFERS),
            fill: pipeline(&device, "fill", shaders::fill()),
            fold: pipeline(&device, "fold", shaders::fold()),
            walk_made: pipeline(&device, "walk", shaders::walk_made()),
            device,
            queue,
            errors,
            params,
            memory: None,
            copy: None,
        };
        made.check_errors()?;
        Ok(made)
    }

    fn check_errors(&self) -> Result<(), ProverError> {
        let error = self.errors.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.map_or(Ok(()), |error| Err(failure(error)))
    }

    fn tell(&self, params: [u32; 6], seed: &[u32; 8]) {
        let mut bytes = [0; PARAMS_BYTES as usize];
        let words = seed.iter().chain(&params);
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        self.queue.write_buffer(&self.params, 0, &bytes);
    }

    fn memory(&self) -> Result<&Buffers, ProverError> {
        self.memory
            .as_ref()
            .ok_or_else(|| failure("no memory was taken for the challenge"))
    }

    fn bind(&self, pipeline: &ComputePipeline, group: u32, buffers: &[&Buffer]) -> BindGroup {
        let entries: Vec<BindGroupEntry> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        self.device.create_bind_group(&BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(group),
            entries: &entries,
        })
    }

    fn storage(&self, bytes: u64) -> Buffer {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        buffer(&self.device, bytes, usage)
    }

    fn take_memory(&self, layout: Layout) -> Buffers {
        let mut items = Vec::new();
        let mut left = layout.items;
        while left > 0 {
            let count = left.min(self.items_per_buffer);
            let buffer = self.storage(u64::from(count) * ITEM_BYTES);
            let group = self.bind(&self.fill, 0, &[&self.params, &buffer]);
            items.push((buffer, group));
            left -= count;
        }
        let nodes = fold_buffer_nodes(layout.lanes, GROUP).map(|nodes| self.storage(nodes * 32));
        let walk_memory = (!items.is_empty()).then(|| {
            // At most `MOST_ITEM_BUFFERS`.
            let text = shaders::walk_memory(items.len() as u32, self.items_per_buffer);
            let pipeline = pipeline(&self.device, "walk", text);
            let buffers: Vec<&Buffer> = items.iter().map(|(buffer, _)| buffer).collect();
            let own = self.bind(&pipeline, 0, &[&self.params, &nodes[0]]);
            let read = self.bind(&pipeline, 1, &buffers);
            (pipeline, own, read)
        });
        Buffers {
            items,
            walk_memory,
            walk_made: self.bind(&self.walk_made, 0, &[&self.params, &nodes[0]]),
            folds: [
                self.bind(&self.fold, 0, &[&nodes[0], &nodes[1]]),
                self.bind(&self.fold, 0, &[&nodes[1], &nodes[0]]),
            ],
            nodes,
        }
    }

    /// Records work, submits it to the device and waits until it is done.
    fn submit(&self, record: impl FnOnce(&mut CommandEncoder)) -> Result<(), ProverError> {
        let mut encoder = self
            .device
            .create_command_encoder(&CommandEncoderDescriptor { label: None });
        record(&mut encoder);
        self.queue.submit([encoder.finish()]);
        self.wait()?;
        self.check_errors()
    }

    fn wait(&self) -> Result<(), ProverError> {
        self.device
            .poll(PollType::wait_indefinitely())
            .map_err(device_error)?;
        Ok(())
    }

    /// Reads a staging buffer back to the host.
    fn read_back(&self, staging: &Buffer) -> Result<Vec<Hash>, ProverError> {
        let (sender, receiver) = mpsc::channel();
        staging.map_async(MapMode::Read, .., move |result| {
            // The receiver is gone only after an earlier error was returned.
            let _ = sender.send(result);
        });
        self.wait()?;
        let mapped = receiver
            .try_recv()
            .map_err(|_| failure("the device did not answer when its memory was to be read"))?;
        mapped.map_err(device_error)?;
        let view = staging.get_mapped_range(..).map_err(device_error)?;
        Ok(nodes_of_bytes(&view))
    }
}

impl Device for WgpuDevice {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> HardwareLimits {
        HardwareLimits {
            memory_bytes: self.memory_bytes,
            ..HardwareLimits::default()
        }
    }

    /// Returns the memory of all processes together: wgpu does not report how much of it is in use.
    fn free_bytes(&self) -> Result<Option<u64>, ProverError> {
        Ok(self.memory_bytes)
    }

    fn most_items(&self) -> u32 {
        self.items_per_buffer.saturating_mul(self.most_item_buffers)
    }

    fn allocate(&mut self, layout: Layout) -> Result<(), ProverError> {
        self.free();
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let memory = self.take_memory(layout);
        if pollster::block_on(scope.pop()).is_some() {
            drop(memory);
            self.wait()?;
            // The failed buffers were used all the same, which reported further errors: discard these.
            let _ = self.check_errors();
            return Err(ProverError::MemoryRefused {
                needed_bytes: u64::from(layout.items) * ITEM_BYTES + u64::from(layout.lanes) * 64,
            });
        }
        self.check_errors()?;
        self.memory = Some(memory);
        Ok(())
    }

    fn free(&mut self) {
        if self.memory.take().is_some() || self.copy.take().is_some() {
            // Buffers are freed when the device sees that nothing uses them. An error appears at the next
            // call.
            let _ = self.wait();
        }
    }

    fn fill(&mut self, fill: &Fill) -> Result<(), ProverError> {
        let memory = self.memory()?;
        let mut done = 0;
        while done < fill.items {
            let first = fill.first_item + done;
            let offset = first % self.items_per_buffer;
            let count = (fill.items - done).min(self.items_per_buffer - offset);
            let (_, group) = memory
                .items
                .get((first / self.items_per_buffer) as usize)
                .ok_or_else(|| failure("there is no buffer for an item"))?;
            self.tell([0, fill.double_rounds, 0, first, count, offset], &fill.seed);
            self.submit(|encoder| {
                let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
                pass.set_pipeline(&self.fill);
                pass.set_bind_group(0, group, &[]);
                dispatch(&mut pass, count);
            })?;
            done += count;
        }
        Ok(())
    }

    fn walk(&mut self, walk: &Walk, levels: u8) -> Result<Vec<Hash>, ProverError> {
        let memory = self.memory()?;
        let (pipeline, own, items, fill_double_rounds) = match (walk.source, &memory.walk_memory) {
            (Source::Memory, Some((pipeline, own, items))) => (pipeline, own, Some(items), 0),
            (Source::Memory, None) => return Err(failure("no items are stored")),
            (Source::Made { fill_double_rounds }, _) => {
                (&self.walk_made, &memory.walk_made, None, fill_double_rounds)
            }
        };
        self.tell(
            [
                walk.items,
                fill_double_rounds,
                walk.steps,
                walk.first_lane,
                walk.lanes,
                0,
            ],
            &walk.seed,
        );
        let bytes = u64::from(walk.lanes >> levels) * 32;
        let staging = buffer(
            &self.device,
            bytes,
            BufferUsages::COPY_DST | BufferUsages::MAP_READ,
        );
        self.submit(|encoder| {
            let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, own, &[]);
            if let Some(items) = items {
                pass.set_bind_group(1, items, &[]);
            }
            dispatch(&mut pass, walk.lanes);
            pass.set_pipeline(&self.fold);
            for level in 1..=levels {
                pass.set_bind_group(0, &memory.folds[usize::from(level - 1) % 2], &[]);
                dispatch(&mut pass, walk.lanes >> level);
            }
            drop(pass);
            encoder.copy_buffer_to_buffer(&memory.nodes[usize::from(levels) % 2], 0, &staging, 0, bytes);
        })?;
        self.read_back(&staging)
    }

    fn copy_buffers(&mut self, half_bytes: u64) -> Result<u64, ProverError> {
        self.free();
        let bytes = half_bytes.min(u64::from(self.items_per_buffer) * ITEM_BYTES) / 4 * 4;
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let copy = [self.storage(bytes), self.storage(bytes)];
        if pollster::block_on(scope.pop()).is_some() {
            return Err(ProverError::MemoryRefused {
                needed_bytes: 2 * bytes,
            });
        }
        self.check_errors()?;
        self.copy = Some(copy);
        Ok(bytes)
    }

    fn copy(&mut self) -> Result<(), ProverError> {
        let [from, to] = self
            .copy
            .as_ref()
            .ok_or_else(|| failure("no memory was taken for the copy"))?;
        self.submit(|encoder| encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size()))
    }
}

fn remember(errors: &FirstError, error: String) {
    errors
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert(error);
}

fn buffer(device: &wgpu::Device, bytes: u64, usage: BufferUsages) -> Buffer {
    device.create_buffer(&BufferDescriptor {
        label: None,
        size: bytes,
        usage,
        mapped_at_creation: false,
    })
}

/// Creates a kernel from its source and the name of its entry point.
fn pipeline(device: &wgpu::Device, entry_point: &str, text: String) -> ComputePipeline {
    let module = device.create_shader_module(ShaderModuleDescriptor {
        label: Some(entry_point),
        source: ShaderSource::Wgsl(text.into()),
    });
    device.create_compute_pipeline(&ComputePipelineDescriptor {
        label: Some(entry_point),
        layout: None,
        module: &module,
        entry_point: Some(entry_point),
        compilation_options: Default::default(),
        cache: None,
    })
}

/// Dispatches at least so many threads, in two dimensions if one would be too long.
fn dispatch(pass: &mut ComputePass, threads: u32) {
    let groups = threads.div_ceil(GROUP);
    let wide = groups.min(MOST_GROUPS);
    pass.dispatch_workgroups(wide, groups.div_ceil(wide), 1);
}
