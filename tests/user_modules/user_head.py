"""Classes learnt by the focal loss (Lin et al. 2017), known by Matthews correlation."""

from dnamamba.heads.classification import Classification


class Focal(Classification):
    headline = "mcc"

    def loss(self, logits, labels, weights, smoothing):
        nats = super().loss(logits, labels, weights, smoothing)
        return (1 - (-nats).exp()) ** 2 * nats
