//! How is a tensor of points decoded?

use quant_core::backend::{Backend, SamplesMut};
use quant_core::tensor::Dtype;
use quant_core::vectors::VectorEncoding;

use super::Parts;
use crate::checkpoint::AlignedBytes;
use crate::device::{Device, with_backend};
use crate::error::Error;
use crate::outputs::native::{CODES, CODEVECTORS};
use crate::work::fault;

impl Parts<'_> {
    /// The weights of one matrix. Every index of its width names a codevector, so none can be out of range.
    pub(super) fn vectors(&self, dtype: Dtype, device: &Device) -> Result<AlignedBytes, Error> {
        let rule = self.description.vector_rule().expect("checked when opened");
        let codevectors: Vec<f32> = self.halves(CODEVECTORS)?.iter().map(|y| y.to_f32()).collect();
        let row_scales = self.row_scales()?;
        let (rows, columns) = (self.description.rows, self.description.columns);
        let encoding = VectorEncoding { rule, rows, columns, row_scales: &row_scales, codevectors: &codevectors };
        let mut bytes = AlignedBytes::zeroed(rows * columns * dtype.byte_len());
        let mut samples = SamplesMut::from_bytes(&mut bytes, dtype).expect("the buffer is aligned");
        with_backend!(device, backend => {
            backend.decode_vectors(self.get(CODES), &encoding, &mut samples).map_err(|e| fault(backend, &e))
        })?;
        Ok(bytes)
    }
}
