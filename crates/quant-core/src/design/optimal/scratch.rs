//! What does a fit work with, and where does its memory come from?

use bumpalo::Bump;
use std::cell::RefCell;

/// Memory that fits use one after the other. Between them it is as much as the largest of them took, up to twice; while one
/// takes more than any before, the old and the new are there.
#[derive(Debug, Default)]
pub struct Scratch {
    fit: Bump,
    level: RefCell<Bump>,
}

impl Scratch {
    /// Nothing of earlier fits is needed any more.
    pub(super) fn clear(&mut self) {
        self.fit.reset();
    }

    /// For a fit with kernels of `fill`.
    pub(super) fn tools<'s, F>(&'s self, fill: &'s F) -> Tools<'s, F> {
        Tools { fill, scratch: &self.fit, level: &self.level }
    }
}

/// What a fit works with.
#[derive(Debug)]
pub struct Tools<'s, F> {
    /// Kernels.
    pub fill: &'s F,
    /// Memory that lasts until the fit is done.
    pub scratch: &'s Bump,
    level: &'s RefCell<Bump>,
}

impl<F> Clone for Tools<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Tools<'_, F> {}

impl<'s, F> Tools<'s, F> {
    /// Room for `count` elements.
    #[inline(always)]
    pub fn room<T: Copy + Default>(&self, count: usize) -> &'s mut [T] {
        self.scratch.alloc_slice_fill_copy(count, T::default())
    }

    /// Runs what takes memory that lasts until it returns, instead of until the fit is done.
    #[inline(always)]
    pub fn passing<R>(&self, run: impl FnOnce(Tools<'_, F>) -> R) -> R {
        let mut own = self.level.take();
        let result = run(Tools { fill: self.fill, scratch: &own, level: &RefCell::default() });
        own.reset();
        self.level.replace(own);
        result
    }
}
