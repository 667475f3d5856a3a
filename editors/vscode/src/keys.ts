/** The server's settings, as package.json contributes them. */

import packageJson from '../package.json';
import { serverKeys } from './logic/settings.js';

export const KEYS = serverKeys(packageJson.contributes.configuration.properties);
