//! Values out of the text that Prometheus scrapes.

/// The sum of all series of a family whose labels contain every one of `labels`; 0 where there is none.
pub fn sum(metrics: &str, family: &str, labels: &[&str]) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        let fits = rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label));
        fits.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_over_one_family_and_the_labels_that_were_asked_for() {
        let text =
            "# HELP a x\na_total{p=\"1\",q=\"2\"} 3\na_total{p=\"2\",q=\"2\"} 4\na_total_more{p=\"1\"} 9\nplain 5\n";
        assert!((sum(text, "a_total", &["q=\"2\""]) - 7.0).abs() < 1e-9);
        assert!((sum(text, "a_total", &["p=\"1\"", "q=\"2\""]) - 3.0).abs() < 1e-9);
        assert!((sum(text, "plain", &[]) - 5.0).abs() < 1e-9);
        assert!(sum(text, "none", &[]).abs() < 1e-9);
    }
}
