//! How pieces of a matrix move through the adapters: cut, shared out, a few under way at a time, in order.

use crate::Gpu;
use crate::chunk::{Chunk, chunks};
use crate::error::GpuError;
use crate::job::{Ticket, sample_bytes};
use crate::unit::Unit;
use quant_core::tensor::{Matrix, Samples};
use std::collections::VecDeque;
use std::ops::Range;

/// A row of a chunk may have a codebook of 256 levels of its own.
const CODEBOOK_LEN_MAX: usize = 256;

/// Groups of up to this many samples end with a chunk when rows are cut, because 32 · 32 divides into the usual ones.
const ALIGN: usize = 32 * 32;

/// Samples that will not change until they are released, and how they are cut.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    address: usize,
    len: usize,
    rows: usize,
    columns: usize,
}

/// Promises that the samples of `matrix` do not change before [`release`].
pub(crate) fn hold(gpu: &Gpu, matrix: Matrix<'_>) {
    release(gpu);
    let bytes = sample_bytes(matrix.samples());
    let promise =
        Promise { address: bytes.as_ptr() as usize, len: bytes.len(), rows: matrix.rows(), columns: matrix.columns() };
    *gpu.promise.lock().expect("nobody panics with it") = Some(promise);
    gpu.units.iter().for_each(|unit| unit.held.lock().expect("nobody panics with it").promise(bytes));
}

/// Ends the promise.
pub(crate) fn release(gpu: &Gpu) {
    *gpu.promise.lock().expect("nobody panics with it") = None;
    gpu.units.iter().for_each(|unit| unit.held.lock().expect("nobody panics with it").release(&unit.pool));
}

impl Gpu {
    /// Cuts a matrix; a row is cut at multiples of `align` columns.
    pub(crate) fn cut(&self, rows: usize, columns: usize, align: usize) -> Vec<Chunk> {
        let row_max = (self.sample_max / CODEBOOK_LEN_MAX).max(1);
        // All verbs cut alike where they can, so that what is on the device already is found.
        let align = if ALIGN.is_multiple_of(align) && ALIGN <= self.sample_max { ALIGN } else { align };
        chunks(rows, columns, self.sample_max, row_max, align)
    }

    /// Cuts samples whose shape does not matter: as their matrix is cut, where that is known.
    pub(crate) fn cut_flat(&self, samples: Samples<'_>) -> Vec<Range<usize>> {
        let bytes = sample_bytes(samples);
        let place = (bytes.as_ptr() as usize, bytes.len());
        let promise = self.promise.lock().expect("nobody panics with it").clone();
        let shape = promise.filter(|p| (p.address, p.len) == place).map(|p| (p.rows, p.columns));
        let (rows, columns) = shape.unwrap_or((1, samples.len()));
        self.cut(rows, columns, 1).iter().map(|chunk| chunk.range(columns)).collect()
    }

    /// Hands each item to an adapter with `submit` and what came back to `finish`; results in the order of the items.
    pub(crate) fn each<C: Send, R: Send>(
        &self,
        items: Vec<C>,
        submit: impl for<'u> Fn(&'u Unit, &C) -> Result<Ticket<'u>, GpuError> + Sync,
        finish: impl Fn(C, &[u8]) -> R + Sync,
    ) -> Result<Vec<R>, GpuError> {
        if let [unit] = self.units.as_slice() {
            return on_unit(unit, self.depth, items.into_iter(), &submit, &finish);
        }
        let unit_count = self.units.len();
        let mut shares: Vec<Vec<C>> = (0..unit_count).map(|_| Vec::new()).collect();
        items.into_iter().enumerate().for_each(|(i, item)| shares[i % unit_count].push(item));
        let (submit, finish) = (&submit, &finish);
        let shares: Vec<Result<Vec<R>, GpuError>> = std::thread::scope(|scope| {
            let work = |(unit, share): (_, Vec<C>)| {
                scope.spawn(move || on_unit(unit, self.depth, share.into_iter(), submit, finish))
            };
            let workers: Vec<_> = self.units.iter().zip(shares).map(work).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker returns its faults")).collect()
        });
        let mut shares: Vec<_> =
            shares.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().map(Vec::into_iter).collect();
        Ok((0..).map_while(|i| shares[i % unit_count].next()).collect())
    }
}

fn on_unit<'u, C, R>(
    unit: &'u Unit,
    depth: usize,
    items: impl Iterator<Item = C>,
    submit: &impl Fn(&'u Unit, &C) -> Result<Ticket<'u>, GpuError>,
    finish: &impl Fn(C, &[u8]) -> R,
) -> Result<Vec<R>, GpuError> {
    let mut under_way: VecDeque<(C, Ticket<'u>)> = VecDeque::new();
    let mut results = Vec::new();
    let mut finish_first = |under_way: &mut VecDeque<(C, Ticket<'u>)>| -> Result<(), GpuError> {
        if let Some((item, ticket)) = under_way.pop_front() {
            results.push(ticket.read(|bytes| finish(item, bytes))?);
        }
        Ok(())
    };
    for item in items {
        let ticket = submit(unit, &item)?;
        under_way.push_back((item, ticket));
        if under_way.len() >= depth {
            finish_first(&mut under_way)?;
        }
    }
    while !under_way.is_empty() {
        finish_first(&mut under_way)?;
    }
    Ok(results)
}
