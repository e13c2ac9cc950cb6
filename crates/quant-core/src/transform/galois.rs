//! Finite fields GF(q), as far as Paley's construction needs them: differences, and which elements are squares.

/// GF(p^n), elements numbered 0 … q − 1 by their digits in base p: the coefficients of a polynomial.
pub(super) struct Field {
    prime: usize,
    degree: usize,
    /// χ of each element: 0 for zero, 1 for a square, −1 otherwise.
    character: Vec<i8>,
}

/// p and n when `order` = p^n for a prime p.
fn prime_power(order: usize) -> Option<(usize, usize)> {
    let prime = (2..=order).find(|p| order.is_multiple_of(*p))?;
    let (mut left, mut degree) = (order, 0);
    while left.is_multiple_of(prime) {
        (left, degree) = (left / prime, degree + 1);
    }
    (left == 1).then_some((prime, degree))
}

impl Field {
    /// The field of `order` elements, odd; `None` when there is none.
    pub fn new(order: usize) -> Option<Self> {
        let (prime, degree) = prime_power(order).filter(|(prime, _)| *prime > 2)?;
        let modulus =
            (0..order).map(|low| digits(low, prime, degree)).find(|low| is_irreducible(low, prime, degree))?;
        let mut character = vec![-1; order];
        character[0] = 0;
        for element in 1..order {
            let square = multiply(&digits(element, prime, degree), &digits(element, prime, degree), &modulus, prime);
            character[number(&square, prime)] = 1;
        }
        Some(Self { prime, degree, character })
    }

    /// Elements.
    pub fn order(&self) -> usize {
        self.character.len()
    }

    /// χ(a − b): 0 when equal, 1 when the difference is a square, −1 otherwise.
    pub fn character_of_difference(&self, a: usize, b: usize) -> i8 {
        let (a, b) = (digits(a, self.prime, self.degree), digits(b, self.prime, self.degree));
        let difference: Vec<usize> = a.iter().zip(&b).map(|(x, y)| (x + self.prime - y) % self.prime).collect();
        self.character[number(&difference, self.prime)]
    }
}

/// Coefficients, the constant first.
fn digits(mut number: usize, prime: usize, degree: usize) -> Vec<usize> {
    let mut digit = || {
        let low = number % prime;
        number /= prime;
        low
    };
    (0..degree).map(|_| digit()).collect()
}

fn number(digits: &[usize], prime: usize) -> usize {
    digits.iter().rev().fold(0, |number, digit| number * prime + digit)
}

/// a·b modulo xⁿ + Σ low_i x^i.
fn multiply(a: &[usize], b: &[usize], low: &[usize], prime: usize) -> Vec<usize> {
    let degree = low.len();
    let mut product = vec![0; 2 * degree];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            product[i + j] = (product[i + j] + x * y) % prime;
        }
    }
    for top in (degree..2 * degree).rev() {
        let factor = std::mem::take(&mut product[top]);
        for (i, l) in low.iter().enumerate() {
            let at = top - degree + i;
            product[at] = (product[at] + factor * (prime - l)) % prime;
        }
    }
    product.truncate(degree);
    product
}

/// True when no product of two elements other than zero vanishes; degrees and primes in use are small.
fn is_irreducible(low: &[usize], prime: usize, degree: usize) -> bool {
    if degree == 1 {
        return low[0] == 0;
    }
    // A polynomial is irreducible when it has no factor of at most half its degree.
    let order = prime.pow(degree as u32);
    let half = prime.pow(degree as u32 / 2 + 1).min(order);
    let divides = |factor: usize| {
        let factor = digits(factor, prime, degree);
        let top = factor.iter().rposition(|&c| c != 0).unwrap_or(0);
        top > 0 && factor[top] == 1 && remainder_is_zero(low, &factor[..=top], prime)
    };
    !(prime..half).any(divides)
}

/// True when the monic `factor` divides xⁿ + Σ low_i x^i.
fn remainder_is_zero(low: &[usize], factor: &[usize], prime: usize) -> bool {
    let mut left = low.to_vec();
    left.push(1);
    let degree = factor.len() - 1;
    for top in (degree..left.len()).rev() {
        let lead = left[top];
        for (i, f) in factor.iter().enumerate() {
            let at = top - degree + i;
            left[at] = (left[at] + lead * (prime - f)) % prime;
        }
    }
    left.iter().all(|&c| c == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_elements_are_squares() {
        for order in [3, 5, 7, 9, 11, 13, 25, 27, 49, 81, 125, 343] {
            let field = Field::new(order).unwrap_or_else(|| panic!("GF({order})"));
            let squares = field.character.iter().filter(|&&c| c == 1).count();
            assert_eq!(squares, (order - 1) / 2, "GF({order})");
        }
        assert!([1, 6, 15, 35, 8].into_iter().all(|order| Field::new(order).is_none()));
    }
}
