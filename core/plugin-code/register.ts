// For tests of plugins outside of a gateway: `node --import .../core/plugin-code/register.ts` finds `sluice`, as a gateway does.
import { offerSluice } from './module-hooks.ts'

offerSluice()
