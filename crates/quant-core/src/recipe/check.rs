//! Is a recipe that was put together field by field one that the constructors make?

use super::{CodebookRule, Recipe, RecipeError};
use crate::grouping::GroupLength;
use crate::scale_storage::ScaleStorage;

impl Recipe {
    /// What the constructors refuse of bits, groups, rates, scale rules, scale storage, switches and outliers, for a recipe
    /// whose fields were set one by one: [`crate::quantize::quantize`] asks first.
    ///
    /// # Errors
    /// The same that the preset, or the `with_` method for the field, gives.
    ///
    /// ```
    /// use quant_core::{grouping::GroupLength, recipe::{Recipe, RecipeError}, scale::ScaleRule};
    /// let mut recipe = Recipe::preset("kmeans4-row").unwrap();
    /// assert_eq!(recipe.check(), Ok(()));
    /// (recipe.group, recipe.scale) = (GroupLength::Tensor, Some(ScaleRule::Search));
    /// assert_eq!(recipe.check(), Err(RecipeError::NoScales { name: "kmeans4-row".into() }));
    /// ```
    pub fn check(&self) -> Result<(), RecipeError> {
        let bits = self.bit_width.bits() as u32;
        if !(2..=8).contains(&bits) {
            return Err(RecipeError::BitsOutOfRange(bits));
        }
        if self.codebook == CodebookRule::Iq4Nl && bits != 4 {
            return Err(RecipeError::BitsFixed { name: self.family_name() });
        }
        self.check_group()?;
        if let CodebookRule::EntropyConstrained { rate } = self.codebook {
            Self::entropy_constrained(f64::from(rate) / 100.0)?;
        }
        match self.scale {
            Some(rule) => self.with_scale(rule).map(drop)?,
            // Points have scales of their own, and nothing else is in the unit of the samples without any.
            None if self.needs_scales() && self.codebook.vectors().is_none() => {
                return Err(RecipeError::NeedsScales { name: self.family_name() });
            }
            None => {}
        }
        if self.scale.is_some() || self.scale_storage != ScaleStorage::F32 || self.has_half_scales_only() {
            self.with_scale_storage(self.scale_storage)?;
        }
        if let Some(switch) = self.switch {
            self.with_switch(switch.step_bits.into(), switch.shape_bits.into())?;
        }
        match self.outliers {
            Some(rule) => self.with_outliers(f64::from(rule.per_million) / 1e6, rule.by_sensitivity).map(drop),
            None => Ok(()),
        }
    }

    fn check_group(&self) -> Result<(), RecipeError> {
        // Points always have the row, which nothing sets.
        match self.codebook.vectors() {
            Some(_) if self.group == GroupLength::Row => Ok(()),
            _ => self.with_group(self.group).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::BitWidth;
    use crate::quantize::{QuantizeError, quantize};
    use crate::recipe::{BLOCK_LEN_MAX, OutlierRule, Switch};
    use crate::reference::Reference;
    use crate::scale::ScaleRule;
    use crate::tensor::{Matrix, Samples};

    /// What a preset is refused for once `change` has set its fields.
    fn refused(preset: &str, change: impl Fn(&mut Recipe)) -> RecipeError {
        let mut recipe = Recipe::preset(preset).unwrap();
        change(&mut recipe);
        let samples: Vec<f32> = (0..64).map(|i| (i as f32).sin()).collect();
        match quantize(&Reference, Matrix::new(Samples::F32(&samples), 4, 16).unwrap(), &recipe) {
            Err(QuantizeError::Recipe(error)) => error,
            other => panic!("{recipe:?} gave {other:?}"),
        }
    }

    #[test]
    fn fields_that_no_constructor_would_set_are_refused_as_constructors_do() {
        let name = |name: &str| name.to_owned();
        for rule in [ScaleRule::Absmax, ScaleRule::Search, ScaleRule::SignedSearch] {
            for group in [GroupLength::Tensor, GroupLength::Row] {
                let error = refused("kmeans4-row", |r| (r.group, r.scale) = (group, Some(rule)));
                let by_constructors =
                    Recipe::preset("kmeans4-row").unwrap().with_group(group).unwrap().with_scale(rule);
                assert_eq!(Err(error), by_constructors, "{group:?} {rule:?}");
            }
        }
        let none = refused("nf4", |r| r.group = GroupLength::Samples(0));
        assert_eq!(none, RecipeError::EmptyGroup);
        let narrow = refused("nf4", |r| r.bit_width = BitWidth::new(1).unwrap());
        assert_eq!(narrow, RecipeError::BitsOutOfRange(1));
        let wide = refused("iq4_nl", |r| r.bit_width = BitWidth::new(5).unwrap());
        assert_eq!(wide, RecipeError::BitsFixed { name: name("iq5_nl") });
        let without_length = refused("bnf4", |r| r.group = GroupLength::Row);
        assert_eq!(without_length, RecipeError::NeedsLength { name: name("bnf4"), most: BLOCK_LEN_MAX });
        let grouped = refused("ecsq4", |r| r.group = GroupLength::Row);
        assert_eq!(grouped, RecipeError::NoGroups { name: name("ecsq4") });
        let slow = refused("ecsq4", |r| r.codebook = CodebookRule::EntropyConstrained { rate: 50 });
        assert_eq!(slow, RecipeError::RateOutOfRange(name("0.5")));
        let points = refused("vq4x8", |r| r.group = GroupLength::Tensor);
        assert_eq!(points, RecipeError::Vectors { name: name("vq4x8") });
        let steps = refused("switched4", |r| r.switch = Some(Switch { step_bits: 9, shape_bits: 9 }));
        assert_eq!(steps, RecipeError::SwitchBits { step_bits: 9, shape_bits: 9 });
        let rows = refused("switched4", |r| r.group = GroupLength::Row);
        assert!(matches!(rows, RecipeError::NoSwitch { .. }), "{rows}");
        let full = refused("iq4_nl", |r| r.scale_storage = ScaleStorage::F32);
        assert_eq!(full, RecipeError::HalfScales { name: name("iq4_nl") });
        let scaleless = refused("kmeans4-row", |r| r.scale_storage = ScaleStorage::Double);
        assert_eq!(scaleless, RecipeError::NoScales { name: name("kmeans4-row") });
        for preset in ["iq4_nl", "q4_0", "nf4", "easyquant4"] {
            let none = refused(preset, |r| r.scale = None);
            assert_eq!(none, RecipeError::NeedsScales { name: Recipe::preset(preset).unwrap().family_name() });
        }
        let ungrouped = refused("lloyd4", |r| r.group = GroupLength::Samples(64));
        assert_eq!(ungrouped, RecipeError::NeedsScales { name: name("lloyd4") });
        let switch = Some(Switch { step_bits: 4, shape_bits: 0 });
        let block = refused("iq4_nl", |r| (r.scale, r.scale_storage, r.switch) = (None, ScaleStorage::F32, switch));
        assert_eq!(block, RecipeError::NoScales { name: name("iq4_nl") });
        let all = refused("nf4", |r| r.outliers = Some(OutlierRule { per_million: 1_000_000, by_sensitivity: false }));
        assert_eq!(all, RecipeError::OutlierFraction(name("1")));
    }
}
