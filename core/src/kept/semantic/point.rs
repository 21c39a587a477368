//! The vectors of a conversation as they are compared.

/// The vectors of a conversation's texts, each of length 1, one behind the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    numbers: Box<[f32]>,
    /// Numbers of one vector.
    width: usize,
}

impl Point {
    /// From the vector of each text. `None`: there are none, they are not of one width, or one has no direction.
    pub fn of(vectors: &[Vec<f32>]) -> Option<Self> {
        let width = vectors.first()?.len();
        let mut numbers = Vec::with_capacity(width * vectors.len());
        for vector in vectors {
            let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
            if vector.len() != width || !length.is_normal() {
                return None;
            }
            numbers.extend(vector.iter().map(|number| number / length));
        }
        Some(Self {
            numbers: numbers.into(),
            width,
        })
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// How alike these numbers are, which are of the same shape: the least cosine of a pair of vectors.
    pub fn likeness(&self, other: &[f32]) -> f32 {
        let pairs = self
            .numbers
            .chunks_exact(self.width)
            .zip(other.chunks_exact(self.width));
        pairs.map(|(one, other)| dot(one, other)).fold(1.0, f32::min)
    }
}

impl Point {
    /// How alike its own vectors are: the least cosine of the first and another.
    pub fn likeness_within(&self) -> f32 {
        let mut vectors = self.numbers.chunks_exact(self.width);
        let first = vectors.next().unwrap_or_default();
        vectors.map(|other| dot(first, other)).fold(1.0, f32::min)
    }
}

/// Written so that the compiler makes wide instructions of it: sixteen sums side by side.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (ones, others) = (one.chunks_exact(16), other.chunks_exact(16));
    let rest = ones.remainder().iter().zip(others.remainder());
    let rest: f32 = rest.map(|(one, other)| one * other).sum();
    let mut sums = [0.0_f32; 16];
    for (ones, others) in ones.zip(others) {
        for (sum, (one, other)) in sums.iter_mut().zip(ones.iter().zip(others)) {
            *sum += one * other;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_alike_of_the_texts_decides() {
        let point = Point::of(&[vec![2.0, 0.0], vec![0.0, 3.0]]).unwrap();
        let same = Point::of(&[vec![5.0, 0.0], vec![0.0, 1.0]]).unwrap();
        let half = Point::of(&[vec![1.0, 0.0], vec![1.0, 1.0]]).unwrap();
        assert!((point.likeness(same.numbers()) - 1.0).abs() < 1e-6);
        assert!((point.likeness(half.numbers()) - 0.5_f32.sqrt()).abs() < 1e-6);
        assert!((half.likeness_within() - 0.5_f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_product_is_that_of_all_numbers_however_many() {
        for width in [1, 15, 16, 17, 384, 385] {
            let ones: Vec<f32> = (0..width).map(|at| (at % 7) as f32).collect();
            let expected: f32 = ones.iter().map(|one| one * one).sum();
            assert!((dot(&ones, &ones) - expected).abs() <= expected * 1e-5, "{width}");
        }
    }

    #[test]
    fn what_has_no_direction_or_another_width_is_no_point() {
        for vectors in [
            vec![],
            vec![vec![]],
            vec![vec![0.0, 0.0]],
            vec![vec![f32::NAN, 1.0]],
            vec![vec![f32::INFINITY, 1.0]],
            vec![vec![1.0], vec![1.0, 2.0]],
        ] {
            assert_eq!(Point::of(&vectors), None, "{vectors:?}");
        }
    }
}
