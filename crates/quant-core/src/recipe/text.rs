//! How is a recipe written in one line, and read back?

use super::{Recipe, RecipeError, Switch};
use crate::grouping::GroupLength;
use crate::scale::ScaleRule;
use crate::scale_storage::ScaleStorage;

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.family_name())?;
        if self.scale.is_some() || self.switch.is_some() {
            match self.group {
                GroupLength::Samples(n) => write!(f, " group {n}")?,
                GroupLength::Row => write!(f, " group row")?,
                GroupLength::Tensor => write!(f, " group tensor")?,
            }
        }
        if let Some(scale) = self.scale {
            write!(f, " {}", scale.name())?;
        }
        if let Some(Switch { step_bits, shape_bits }) = self.switch {
            write!(f, " step-bits {step_bits} shape-bits {shape_bits}")?;
        }
        match self.scale_storage {
            ScaleStorage::F32 => {}
            ScaleStorage::F16 => write!(f, " f16-scales")?,
            ScaleStorage::E4m3 => write!(f, " e4m3-scales")?,
            ScaleStorage::Double => write!(f, " double-quant")?,
        }
        match self.outliers {
            None => Ok(()),
            Some(rule) => {
                let by = if rule.by_sensitivity { " by-sensitivity" } else { "" };
                write!(f, " outliers {}{by}", f64::from(rule.per_million) / 1e6)
            }
        }
    }
}

impl std::str::FromStr for Recipe {
    type Err = RecipeError;

    /// Reads what [`Display`](std::fmt::Display) writes: a preset, and what changes it, in that order.
    ///
    /// ```
    /// use quant_core::recipe::Recipe;
    /// let text = "switched4 group 16 step-bits 4 shape-bits 3 outliers 0.005";
    /// assert_eq!(text.parse::<Recipe>().unwrap().to_string(), text);
    /// assert!("nf4 groups 32".parse::<Recipe>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, RecipeError> {
        let mut words = text.split_whitespace();
        let mut recipe = Self::preset(words.next().unwrap_or_default())?;
        while let Some(word) = words.next() {
            let refuse = |word: &str| RecipeError::Word { text: text.into(), word: word.into() };
            let mut next = |name: &str| match words.next() {
                Some(value) => Ok(value),
                None => Err(refuse(name)),
            };
            recipe = match word {
                "group" => recipe.with_group(group(next(word)?).ok_or_else(|| refuse(word))?)?,
                "absmax" => recipe.with_scale(ScaleRule::Absmax)?,
                "search" => recipe.with_scale(ScaleRule::Search)?,
                "signed-search" => recipe.with_scale(ScaleRule::SignedSearch)?,
                "double-quant" => recipe.with_double_quant()?,
                "f16-scales" => recipe.with_scale_storage(ScaleStorage::F16)?,
                "e4m3-scales" => recipe.with_scale_storage(ScaleStorage::E4m3)?,
                "step-bits" => {
                    let step_bits = number(next(word)?).ok_or_else(|| refuse(word))?;
                    let shape_bits = match next(word)? {
                        "shape-bits" => number(next(word)?).ok_or_else(|| refuse(word))?,
                        other => return Err(refuse(other)),
                    };
                    recipe.with_switch(step_bits, shape_bits)?
                }
                "outliers" => {
                    let fraction = next(word)?.parse().map_err(|_| refuse(word))?;
                    recipe.with_outliers(fraction, false)?
                }
                "by-sensitivity" => match &mut recipe.outliers {
                    Some(rule) => {
                        rule.by_sensitivity = true;
                        recipe
                    }
                    None => return Err(refuse(word)),
                },
                _ => return Err(refuse(word)),
            };
        }
        Ok(recipe)
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn group(text: &str) -> Option<GroupLength> {
    match text {
        "row" => Some(GroupLength::Row),
        "tensor" => Some(GroupLength::Tensor),
        n => n.parse().ok().map(GroupLength::Samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_reads_back() {
        let recipe = |name| Recipe::preset(name).unwrap();
        let mut recipes: Vec<Recipe> =
            ["nf4", "sf4", "bnf3", "fp4", "int3", "iq4_nl", "q4_0", "q8_0", "lloyd3", "switched2"]
                .into_iter()
                .map(recipe)
                .collect();
        recipes.push(recipe("kmeans3-row").with_group(GroupLength::Samples(128)).unwrap());
        recipes.push(recipe("nf4").with_group(GroupLength::Row).unwrap().with_double_quant().unwrap());
        recipes.push(recipe("nf4").with_group(GroupLength::Samples(32)).unwrap().with_switch(6, 0).unwrap());
        recipes.push(recipe("switched5").with_switch(3, 5).unwrap().with_outliers(0.005, true).unwrap());
        recipes.push(recipe("nf4").with_scale_storage(ScaleStorage::F16).unwrap().with_outliers(0.01, false).unwrap());
        recipes.push(recipe("int4").with_scale_storage(ScaleStorage::E4m3).unwrap());
        recipes.push(recipe("easyquant4").with_scale_storage(ScaleStorage::F16).unwrap());
        recipes.push(recipe("q4_0").with_outliers(0.01, true).unwrap());
        recipes.push(recipe("q4_0").with_group(GroupLength::Samples(64)).unwrap());
        let fp8 = recipe("lloyd4").with_group(GroupLength::Samples(64)).unwrap().with_scale_storage(ScaleStorage::E4m3);
        recipes.push(fp8.clone().unwrap());
        recipes.push(fp8.unwrap().with_group(GroupLength::Tensor).unwrap());
        recipes.push(recipe("int5").with_scale_storage(ScaleStorage::F16).unwrap());
        recipes.push(recipe("lloyd4").with_outliers(1e-6, false).unwrap());
        recipes.push(recipe("ecsq4.37").with_outliers(0.001, false).unwrap());
        recipes.push(recipe("ecsq4.37").with_bits(3).unwrap());
        recipes.extend(["ecsq4.001", "ecsq5.999", "ecsq1"].map(recipe));
        recipes.extend(["any4", "any2", "easyquant4", "squeezellm3"].map(recipe));
        recipes.extend((2..=8).map(|bits| recipe("q4_0").with_bits(bits).unwrap()));
        for recipe in recipes {
            assert_eq!(recipe.to_string().parse::<Recipe>(), Ok(recipe), "{recipe}");
        }
    }

    #[test]
    fn a_word_too_many_is_named() {
        let refused = |text: &str| text.parse::<Recipe>().unwrap_err().to_string();
        assert_eq!(refused("nf4 group"), "recipe \"nf4 group\": \"group\" is not understood here");
        assert!(refused("nf4 step-bits 6 shape 1").contains("\"shape\""));
        assert!(refused("nf4 step-bits 9 shape-bits 0").contains("1 to 8"));
        assert!(refused("nf4 by-sensitivity").contains("by-sensitivity"));
        assert!(refused("kmeans4-row step-bits 6 shape-bits 0").contains("scales or codebooks of its own"));
        for name in ["any", "any9", "any-4", "easyquant", "easyquant1", "squeezellm44", "any4 4"] {
            assert!(refused(name).contains(name), "{name}: {}", refused(name));
        }
        assert!(refused("nf4 outliers 0.5").contains("0.1"));
        assert!(refused("bnf4 group row").contains("from 2 to 4096 samples"));
        assert!(refused("ecsq0.5").contains("an entropy of 0.5 bits per code; the allowed range is 1 to 6"));
        assert!(refused("ecsq").contains("unknown preset") && refused("ecsqNaN").contains("NaN"));
        assert!(refused("ecsq4 group 64").contains("its only group is the tensor"));
        assert!(refused("ecsq4 step-bits 4 shape-bits 0").contains("codebooks of its own"));
    }
}
