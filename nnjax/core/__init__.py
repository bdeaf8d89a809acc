"""The contract: Layer, compose and the combinators, paths, files, and checks at the door."""

from nnjax.core.combinators import (
    parallel as parallel,
    remat as remat,
    residual as residual,
    serial as serial,
)
from nnjax.core.compose import compose as compose
from nnjax.core.errors import (
    check_choice as check_choice,
    check_dtype as check_dtype,
    check_entries as check_entries,
    check_floating as check_floating,
    check_positive as check_positive,
    check_rate as check_rate,
    check_shape as check_shape,
)
from nnjax.core.files import load as load, load_config as load_config, save as save
from nnjax.core.layer import Layer as Layer, as_layer as as_layer, map_layers as map_layers
from nnjax.core.paths import (
    get_path as get_path,
    label as label,
    matches as matches,
    paths as paths,
    set_path as set_path,
)
from nnjax.core.stacked import (
    ensemble as ensemble,
    repeat as repeat,
    stack as stack,
    unstack as unstack,
)
from nnjax.core.summary import (
    count_params as count_params,
    explain as explain,
    output_shape as output_shape,
    summary as summary,
)
