//! Turning `[in, out]` matrices into `[out, in]` and back.

use crate::checkpoint::AlignedBytes;

/// Samples moved together so that both sides stay in cache; tuned loosely, anything from 16 to 128 is alike.
const TILE: usize = 32;

/// The transpose of a row-major `rows × columns` matrix of samples of `width` bytes.
pub fn transposed(bytes: &[u8], rows: usize, columns: usize, width: usize) -> AlignedBytes {
    assert_eq!(bytes.len(), rows * columns * width, "a whole matrix");
    let mut turned = AlignedBytes::zeroed(bytes.len());
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for row in row_tile..(row_tile + TILE).min(rows) {
                for column in column_tile..(column_tile + TILE).min(columns) {
                    let (from, to) = ((row * columns + column) * width, (column * rows + row) * width);
                    turned[to..to + width].copy_from_slice(&bytes[from..from + width]);
                }
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    #[test]
    fn twice_is_the_identity() {
        let bytes: Vec<u8> = (0..2 * 33 * 70).map(|i| (i % 251) as u8).collect();
        let turned = super::transposed(&bytes, 33, 70, 2);
        assert_eq!(turned[2..4], bytes[140..142]);
        assert_eq!(super::transposed(&turned, 70, 33, 2)[..], bytes[..]);
    }
}
