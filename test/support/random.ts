export { createRandom } from '../../src/testing/random.js';
