"""What the component exports: the plugin that the author's module has made."""

import gc

import laterna
import wit_world


class WitWorld(wit_world.WitWorld):
    def describe(self):
        return laterna.last.describe()

    def apply(self, batch):
        return laterna.last.apply(batch)


# What lives now lives as long as the component. A collection would only write its marks into all of it, page after page, in each
# instance; and an instance's own cycles end with it.
gc.collect()
gc.freeze()
gc.disable()
