"""Command line."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """MichiGAN for scvi-tools: realistic cells from any latent."""


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="AnnData file; a simulated drug screen without it.")] = None,
    cell_type_key: Annotated[str, typer.Option(help="obs column of the cell types.")] = "cell_type",
    condition_key: Annotated[str, typer.Option(help="obs column of the conditions.")] = "condition",
    hold_out: Annotated[
        str | None, typer.Option(metavar="TYPE,CONDITION", help="Combination to hide and predict.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Untreated condition; found by itself where there are only two.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the counts; X without it.")] = None,
    size_factor_key: Annotated[
        str | None, typer.Option(help="obs column of total counts; else total_counts, else their sum.")
    ] = None,
    n_genes: Annotated[
        int, typer.Option(min=10, help="Most variable genes to keep, chosen without the hidden cells.")
    ] = 2000,
    out: Annotated[Path, typer.Option(help="Folder for cells, table, figures and model.")] = Path("michigan_demo"),
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train, sample, predict a hidden combination, and compare the prediction with simple ones."""
    # The imports take seconds, which --help should not.
    from scmichigan.demo import load_demo_data, run_demo, simulated_demo_data

    try:
        if data is None:
            # Small and simple data are learned in a third of the usual steps.
            prepared, steps = simulated_demo_data(seed=seed), {"latent_steps": 2000, "generator_steps": 800}
        else:
            columns = {
                "cell_type_key": cell_type_key,
                "condition_key": condition_key,
                "size_factor_key": size_factor_key,
            }
            labels = {"hold_out": hold_out, "control": control}
            prepared, steps = load_demo_data(data, **columns, **labels, layer=layer, n_genes=n_genes), {}
        run_demo(prepared, out, **steps, seed=seed)
    except (KeyError, ValueError, FileNotFoundError) as error:
        typer.secho(f"error: {error.args[0] if isinstance(error, KeyError) else error}", fg="red", err=True)
        raise typer.Exit(2) from error
