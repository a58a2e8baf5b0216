"""What a person sees while a fit runs."""

from __future__ import annotations

from tqdm.auto import tqdm


class ProgressBar:
    """One bar for the fit (``verbose=1``) or a line per epoch (``verbose=2``)."""

    def __init__(self, name, n_epochs, start, verbose):
        self.n_epochs, self.verbose = n_epochs, int(verbose)
        self.bar = None
        if self.verbose == 1:
            self.bar = tqdm(total=n_epochs, initial=start, desc=name, unit="epoch")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()

    def update(self, record):
        """Show one finished epoch."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {record['train_loss']:.4f}", refresh=False)
            self.bar.update()
        elif self.verbose > 1:
            losses = [f"{k} {v:.4f}" for k, v in record.items() if isinstance(v, float)]
            print(f"epoch {record['epoch']}/{self.n_epochs}  " + "  ".join(losses))  # noqa: T201
