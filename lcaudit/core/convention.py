"""The definitions behind every figure, as each report prints them."""

CONVENTION = (
    "For a layer h = W x + b and g = ∂ℓ/∂h, with ℓ the loss of one sample: Σ_x = E[x xᵀ], uncentred; Σ_g = E[g gᵀ].",
    'Convolutions: x runs over unfolded patches, the expectation over samples and positions (the "expand" setting); '
    "Σ_g is summed over positions and averaged over samples. Grouped convolutions: one pair of factors per group, the "
    "spectra taken together.",
    "Fisher information: expected, with labels drawn from the network's own predictive distribution (one seeded draw "
    "per sample); in closed form, diag(p) − p pᵀ, at the layer that gives the logits. Given labels are used for error "
    "and loss only.",
    "The layer's Fisher block is approximated by Σ_x ⊗ Σ_g; its eigenvalues are all products of the factors'. For "
    "convolutions its λmax can be wrong by tens of times either way, since gradients at different positions are "
    "correlated: so λmax of the block itself, F, is measured from gradients of single samples, and the ratio says how "
    "far each layer's product can be trusted. Verdicts about conditioning rest on Σ_x and Σ_g by themselves.",
    "κ_p = λmax / λ_⌈p·r⌉, eigenvalues in descending order, over the r that lie above the numerical floor. Exact zeros "
    "(dead features, the softmax's own null direction) are counted as rank, never as κ.",
    "Numerical floor: d · 2.2e-16 of λmax in float64; 1.2e-7 of λmax where products were formed in float32 (sums and "
    "eigenvalues are always in float64).",
    "Intervals aim at 95 % and rest on samples, never on patches: bias by cross-validated eigenvalues, width by a "
    "grouped jackknife. They hold for one layer at a time; a verdict needs the whole 99.9 % interval on one side.",
    "Evaluation mode: running batch-norm statistics, no dropout; weights, modes and gradients left as found.",
)
